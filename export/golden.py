"""Golden cases: ids with Keras's and the file's scores, for other languages to check against."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from export import serving
from export.reference import Ids, Reference
from export.runtime import Session

FORMAT_VERSION = 1
PAIRS = 300
USERS = 20
CANDIDATES = 50
SEEN = 5
TOP = 10


@dataclass(frozen=True)
class GoldenScore:
    """One pair: ids as text and as the hex of their UTF-8 bytes, and both scores."""

    user_id: str
    user_id_hex: str
    movie_title: str
    movie_title_hex: str
    keras: float
    tflite: float


@dataclass(frozen=True)
class GoldenRank:
    """One user's candidates: Keras's scores, and the file's scores and order."""

    user_id: str
    user_id_hex: str
    movie_title: list[str]
    movie_title_hex: list[str]
    keras_score: list[float]
    tflite_score: list[float]
    tflite_order: list[int]


@dataclass(frozen=True)
class GoldenRecommend:
    """One user's recommendations, with titles left out as seen."""

    user_id: str
    user_id_hex: str
    k: int
    seen: list[str]
    seen_hex: list[str]
    movie_title: list[str]
    index: list[int]
    score: list[float]


def cases(session: Session, reference: Reference, seed: int = 0) -> dict[str, list[Any]]:
    """Golden cases for every signature, ready for JSON.

    Args:
        session: the published file, open in the runtime whose answers are written.
        reference: Keras's scores.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    users = random.choice(len(reference.users), min(USERS, len(reference.users)), replace=False)
    return {
        "score": [asdict(case) for case in _scores(session, reference, random)],
        "rank": [asdict(_rank(session, reference, user, random)) for user in users],
        "recommend": [asdict(_recommend(session, reference, user, random)) for user in users],
    }


def _scores(
    session: Session, reference: Reference, random: np.random.Generator
) -> list[GoldenScore]:
    """Test pairs drawn at random, and every odd pair."""
    size = len(reference.test.users)
    drawn = random.choice(size, min(PAIRS, size), replace=False)
    hide = reference.gone.hide
    users: Ids = np.concatenate(
        [hide(serving.USER, reference.test.users[drawn]), reference.odd.users]
    )
    candidates: Ids = np.concatenate(
        [hide(serving.CANDIDATE, reference.test.candidates[drawn]), reference.odd.candidates]
    )
    keras = np.concatenate([reference.test.scores[drawn], reference.odd.scores])
    inputs = {serving.USER: users, serving.CANDIDATE: candidates}
    tflite = session.run("score", **inputs)[serving.SCORE]
    return [
        GoldenScore(
            user.decode(), user.hex(), title.decode(), title.hex(), float(expected), float(actual)
        )
        for user, title, expected, actual in zip(users, candidates, keras, tflite, strict=True)
    ]


def _rank(
    session: Session, reference: Reference, user: int, random: np.random.Generator
) -> GoldenRank:
    size = len(reference.catalogue)
    drawn = random.choice(size, min(CANDIDATES, size), replace=False)
    candidates = reference.catalogue[drawn]
    (one,) = users = reference.gone.hide(serving.USER, reference.users[user : user + 1])
    inputs = {serving.USER: users, serving.CANDIDATE: candidates}
    answer = session.run("rank", **inputs)
    return GoldenRank(
        one.decode(),
        one.hex(),
        _texts(candidates),
        _hexes(candidates),
        reference.catalogue_scores[user][drawn].tolist(),
        answer[serving.SCORE].tolist(),
        answer[serving.ORDER].tolist(),
    )


def _recommend(
    session: Session, reference: Reference, user: int, random: np.random.Generator
) -> GoldenRecommend:
    size = len(reference.catalogue)
    seen = reference.catalogue[random.choice(size, min(SEEN, size), replace=False)]
    (one,) = users = reference.gone.hide(serving.USER, reference.users[user : user + 1])
    # The best title too, or leaving out would hardly show.
    seen[0] = reference.catalogue[np.argmax(reference.catalogue_scores[user])]
    inputs = {
        serving.USER: users,
        serving.COUNT: np.array([TOP], np.int32),
        serving.SEEN: seen,
    }
    answer = session.run("recommend", **inputs)
    return GoldenRecommend(
        one.decode(),
        one.hex(),
        TOP,
        _texts(seen),
        _hexes(seen),
        _texts(answer[serving.CANDIDATE]),
        answer[serving.INDEX].tolist(),
        answer[serving.SCORE].tolist(),
    )


def _texts(ids: Ids) -> list[str]:
    return [one.decode() for one in ids]


def _hexes(ids: Ids) -> list[str]:
    return [one.hex() for one in ids]
