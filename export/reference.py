"""The reference: what Keras scores, for the test ratings, the whole catalogue and odd ids."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import serving

Float32 = npt.NDArray[np.float32]
Ids = npt.NDArray[np.object_]

KERAS_BATCH = 65_536
KNOWN = "known"
# Pairs of users and the catalogue: all of MovieLens's, and a sample of larger data's.
MOST_CATALOGUE_PAIRS = 2_000_000
# Of users whom the file doesn't know, where a vocabulary was cut: all score alike.
STRANGERS = 5
# Standard deviation of MovieLens 100k's ratings: what the gate's limits are set for.
MOVIELENS_SPREAD = 1.126
# Asked of Keras, which knows them all, in place of each id that was cut.
UNKNOWN = b"\xff no such id"
# Published in place of such an id.
HIDDEN = b"no such id"

# Ids that no vocabulary of ours has, and that have tripped string handling somewhere.
ODD_IDS: Mapping[str, str] = {
    "unknown": "no such id",
    "empty": "",
    "space": " ",
    "very long": "x" * 10_000,
    "non-ASCII": "Amélie – Le fabuleux destin d’Amélie Poulain",
    "Japanese": "千と千尋の神隠し (2001)",
    "right-to-left": "سواق الأتوبيس",
    "emoji": "🎬🍿👩‍👩‍👧",
    "NUL at the end": "\0",
    "line break": "a\nb",
}


@dataclass(frozen=True)
class Pairs:
    """Pairs and Keras's scores of them.

    Attributes:
        users: user ids as UTF-8 bytes, `object[n]`.
        candidates: candidate ids likewise.
        scores: `float32[n]`.
    """

    users: Ids
    candidates: Ids
    scores: Float32


@dataclass(frozen=True)
class Dropped:
    """Ids that the Keras model knows and the file must not: cut from its vocabularies."""

    users: frozenset[bytes] = frozenset()
    candidates: frozenset[bytes] = frozenset()

    def hide(self, column: str, ids: Ids, unknown: bytes = HIDDEN) -> Ids:
        """Ids with an unknown one, which scores alike, in place of each that was cut."""
        gone = self.users if column == serving.USER else self.candidates
        return np.array([unknown if one in gone else one for one in ids], object)


@dataclass(frozen=True)
class Reference:
    """Everything a file is compared with.

    Attributes:
        test: the test ratings' pairs.
        ratings: the test ratings themselves, `float32[n]`.
        users: the test users, `object[u]`: those that the file knows, sorted, then a few others.
            Evenly drawn ones where the catalogue times all of them would be millions.
        catalogue: every known candidate, `object[c]`.
        catalogue_scores: `float32[u, c]`.
        odd: odd ids on either side and on both, with known ones.
        odd_names: what each odd pair is, `n` texts.
        unit: the test labels' standard deviation over that of MovieLens's: 1 for its own.
        gone: ids that were cut: what is published must not name them.
    """

    test: Pairs
    ratings: Float32
    users: Ids
    catalogue: Ids
    catalogue_scores: Float32
    odd: Pairs
    odd_names: tuple[str, ...]
    unit: float = 1.0
    gone: Dropped = Dropped()


def dropped(whole: serving.Ranker, cut: serving.Ranker) -> Dropped:
    """What a cut took from a ranker."""
    users, candidates = (
        frozenset(map(str.encode, set(before.vocabulary) - set(after.vocabulary)))
        for before, after in ((whole.users, cut.users), (whole.candidates, cut.candidates))
    )
    return Dropped(users, candidates)


def measure(
    model: tf.keras.Model,
    ranker: serving.Ranker,
    test: Mapping[str, npt.NDArray[Any]],
    gone: Dropped = Dropped(),
    unit: float = 1.0,
) -> Reference:
    """Scores everything with Keras.

    Args:
        model: the trained model, called with features `user_id` and `movie_title`.
        ranker: its parts, for the catalogue.
        test: the test ratings' columns, `user_id`, `movie_title` and `user_rating`.
        gone: ids that must score as unknown ones do.
        unit: the test labels' spread over MovieLens's.
    """
    catalogue = _encoded(ranker.candidates.vocabulary)
    users = _users(test[serving.USER], gone.users, len(catalogue))
    everything = _scored(
        model, gone, np.repeat(users, len(catalogue)), np.tile(catalogue, len(users))
    )
    odd_names, odd_users, odd_candidates = _odd_pairs(ranker)
    return Reference(
        test=_scored(model, gone, test[serving.USER], test[serving.CANDIDATE]),
        ratings=test["user_rating"].astype(np.float32),
        users=users,
        catalogue=catalogue,
        catalogue_scores=everything.scores.reshape(len(users), len(catalogue)),
        odd=_scored(model, gone, odd_users, odd_candidates),
        odd_names=odd_names,
        unit=unit,
        gone=gone,
    )


def _users(test_users: Ids, gone: frozenset[bytes], catalogue: int) -> Ids:
    users = np.unique(test_users.astype(object))
    stranger = np.array([one in gone for one in users], bool)
    members, strangers = users[~stranger], users[stranger][:STRANGERS]
    most = max(MOST_CATALOGUE_PAIRS // catalogue - len(strangers), 1)
    if len(members) > most:
        members = members[np.linspace(0, len(members) - 1, most).astype(int)]
    return np.concatenate([members, strangers])


def _scored(model: tf.keras.Model, gone: Dropped, users: Ids, candidates: Ids) -> Pairs:
    users, candidates = users.astype(object), candidates.astype(object)
    asked_users = gone.hide(serving.USER, users, UNKNOWN)
    asked_candidates = gone.hide(serving.CANDIDATE, candidates, UNKNOWN)
    return Pairs(users, candidates, keras_scores(model, asked_users, asked_candidates))


def keras_scores(model: tf.keras.Model, users: Ids, candidates: Ids) -> Float32:
    """Keras's scores of pairs, in batches: `float32[n]` of two `object[n]` of UTF-8 bytes."""
    parts = []
    for start in range(0, len(users), KERAS_BATCH):
        batch = slice(start, start + KERAS_BATCH)
        features = {
            serving.USER: tf.constant(users[batch], tf.string),
            serving.CANDIDATE: tf.constant(candidates[batch], tf.string),
        }
        parts.append(np.asarray(model(features), np.float32).reshape(-1))
    return np.concatenate(parts)


def _odd_pairs(ranker: serving.Ranker) -> tuple[tuple[str, ...], Ids, Ids]:
    # Where no user is known, an odd one more does no harm.
    known_user = (ranker.users.vocabulary or ("user",))[0]
    known_title = ranker.candidates.vocabulary[0]
    # A known id with a NUL after it must not be known: Android's String[] makes such ids.
    rows = [(f"{KNOWN} user and candidate", known_user, known_title)]
    for name, text in ODD_IDS.items():
        rows.append((f"{name} user", text, known_title))
        rows.append((f"{name} candidate", known_user, text))
        rows.append((f"{name} user and candidate", text, text))
    rows.append(("known user, NUL appended", known_user + "\0", known_title))
    rows.append(("known candidate, NUL appended", known_user, known_title + "\0"))
    names, users, candidates = zip(*rows, strict=True)
    return names, _encoded(users), _encoded(candidates)


def _encoded(ids: Any) -> Ids:
    return np.array([text.encode() for text in ids], dtype=object)
