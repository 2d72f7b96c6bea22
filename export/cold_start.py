"""Cold start: how out-of-vocabulary policies do for users and titles held out of the vocabulary."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.metrics import ndcg_score, root_mean_squared_error

from export import oov, reference
from export.agreement import TOP
from model import ratings as ratings_module
from model.ratings import ITEM, LABEL, USER, Ratings, Split

Columns = Mapping[str, npt.NDArray[Any]]

HELD_OUT = 0.1
# A second training on all of it should stay a small part of an export.
MOST_ROWS = 1_000_000
GROUPS = {
    "new users": (True, False),
    "new titles": (False, True),
    "new users, new titles": (True, True),
}


@dataclass(frozen=True)
class ColdStart:
    """One policy's figures for one group of test ratings.

    Attributes:
        policy: its name.
        group: whose ratings: held-out users', of held-out titles, or both.
        ratings: how many.
        rmse: of the scores, in label units.
        ndcg: mean NDCG@10, with labels as gains, over the users that have such ratings: of all
            their test ratings, since a list of nothing but unknown titles has no order.
    """

    policy: str
    group: str
    ratings: int
    rmse: float
    ndcg: float


def measure(
    ratings: Ratings, seed: int, train: Callable[[Ratings], tf.keras.Model]
) -> tuple[ColdStart, ...]:
    """Trains without a tenth of the users and titles, and scores their test ratings.

    The tutorial's vocabulary covers the test ratings' ids, so that its out-of-vocabulary row is
    never trained, nor is it here: no rating of a held-out id is trained on.

    Args:
        ratings: all ratings; None are measured where they are more than a million.
        seed: of the split and of what is held out.
        train: trains a model as the exported one was.
    """
    if ratings.rows > MOST_ROWS:
        return ()
    split = ratings.split(seed)
    trained_on = ratings_module.columns(split.train)
    tested = ratings_module.columns(split.test)
    random = np.random.default_rng(seed)
    new_users = _drawn(ratings.user_ids, random)
    new_titles = _drawn(ratings.movie_titles, random)
    model = train(_without(ratings, trained_on, tested, new_users, new_titles))
    counts = [_counts(trained_on[name]) for name in (USER, ITEM)]
    is_new = _is_in(tested[USER], new_users), _is_in(tested[ITEM], new_titles)
    found = []
    for policy in oov.POLICIES:
        oov.apply(model, policy, counts[0], counts[1])
        scores = reference.keras_scores(model, tested[USER], tested[ITEM])
        for group, wanted in GROUPS.items():
            chosen = (is_new[0] == wanted[0]) & (is_new[1] == wanted[1])
            if chosen.any():
                found.append(_figures(policy, group, tested, scores, chosen))
    return tuple(found)


def _drawn(ids: npt.NDArray[Any], random: np.random.Generator) -> frozenset[bytes]:
    # One stays at least, or there is nothing to train on.
    count = min(max(round(HELD_OUT * len(ids)), 1), len(ids) - 1)
    return frozenset(ids[random.choice(len(ids), count, replace=False)].tolist())


def _is_in(ids: npt.NDArray[Any], chosen: frozenset[bytes]) -> npt.NDArray[np.bool_]:
    return np.array([one in chosen for one in ids], bool)


def _counts(ids: npt.NDArray[Any]) -> dict[str, int]:
    unique, counts = np.unique(ids.astype(object), return_counts=True)
    return {one.decode(): int(count) for one, count in zip(unique, counts, strict=True)}


def _without(
    ratings: Ratings,
    trained_on: Columns,
    tested: Columns,
    new_users: frozenset[bytes],
    new_titles: frozenset[bytes],
) -> Ratings:
    """The ratings as if the new ones had not been there; all test ratings stay."""
    kept = ~(_is_in(trained_on[USER], new_users) | _is_in(trained_on[ITEM], new_titles))
    train = _dataset({name: values[kept] for name, values in trained_on.items()})
    split = Split(train, _dataset(tested))
    users = ~_is_in(ratings.user_ids, new_users)
    titles = ~_is_in(ratings.movie_titles, new_titles)
    return replace(
        ratings,
        dataset=train,
        rows=int(kept.sum()),
        user_ids=ratings.user_ids[users],
        movie_titles=ratings.movie_titles[titles],
        user_counts=ratings.user_counts[users],
        movie_counts=ratings.movie_counts[titles],
        splitter=lambda seed: split,
    )


def _dataset(columns: Columns) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(
        {
            name: tf.constant(values, tf.string) if name != LABEL else values
            for name, values in columns.items()
        }
    )


def _figures(
    policy: str,
    group: str,
    tested: Columns,
    scores: npt.NDArray[np.float32],
    chosen: npt.NDArray[np.bool_],
) -> ColdStart:
    gains = []
    for user in set(tested[USER][chosen].tolist()):
        rows = tested[USER] == user
        if rows.sum() > 1:
            labels = tested[LABEL][rows]
            # Gains can't be negative, whatever the labels are.
            gains.append(ndcg_score([labels - min(labels.min(), 0)], [scores[rows]], k=TOP))
    return ColdStart(
        policy=policy,
        group=group,
        ratings=int(chosen.sum()),
        rmse=float(root_mean_squared_error(tested[LABEL][chosen], scores[chosen])),
        ndcg=float(np.mean(gains)) if gains else float("nan"),
    )
