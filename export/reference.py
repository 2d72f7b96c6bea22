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
class Reference:
    """Everything a file is compared with.

    Attributes:
        test: the test ratings' pairs.
        ratings: the test ratings themselves, `float32[n]`.
        users: the test users, `object[u]`, sorted.
        catalogue: every known candidate, `object[c]`.
        catalogue_scores: `float32[u, c]`.
        odd: odd ids on either side and on both, with known ones.
        odd_names: what each odd pair is, `n` texts.
    """

    test: Pairs
    ratings: Float32
    users: Ids
    catalogue: Ids
    catalogue_scores: Float32
    odd: Pairs
    odd_names: tuple[str, ...]


def measure(
    model: tf.keras.Model, ranker: serving.Ranker, test: Mapping[str, npt.NDArray[Any]]
) -> Reference:
    """Scores everything with Keras.

    Args:
        model: the trained model, called with features `user_id` and `movie_title`.
        ranker: its parts, for the catalogue.
        test: the test ratings' columns, `user_id`, `movie_title` and `user_rating`.
    """
    users = np.unique(test[serving.USER]).astype(object)
    catalogue = _encoded(ranker.candidates.vocabulary)
    everything = _scored(model, np.repeat(users, len(catalogue)), np.tile(catalogue, len(users)))
    odd_names, odd_users, odd_candidates = _odd_pairs(ranker)
    return Reference(
        test=_scored(model, test[serving.USER], test[serving.CANDIDATE]),
        ratings=test["user_rating"].astype(np.float32),
        users=users,
        catalogue=catalogue,
        catalogue_scores=everything.scores.reshape(len(users), len(catalogue)),
        odd=_scored(model, odd_users, odd_candidates),
        odd_names=odd_names,
    )


def _scored(model: tf.keras.Model, users: Ids, candidates: Ids) -> Pairs:
    users, candidates = users.astype(object), candidates.astype(object)
    parts = []
    for start in range(0, len(users), KERAS_BATCH):
        batch = slice(start, start + KERAS_BATCH)
        features = {
            serving.USER: tf.constant(users[batch], tf.string),
            serving.CANDIDATE: tf.constant(candidates[batch], tf.string),
        }
        parts.append(np.asarray(model(features), np.float32).reshape(-1))
    return Pairs(users, candidates, np.concatenate(parts))


def _odd_pairs(ranker: serving.Ranker) -> tuple[tuple[str, ...], Ids, Ids]:
    known_user, known_title = ranker.users.vocabulary[0], ranker.candidates.vocabulary[0]
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
