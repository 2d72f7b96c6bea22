"""Out-of-vocabulary policies: the row that an unknown id gets."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from export.serving import embedding_layers

Float32 = npt.NDArray[np.float32]

TRAINED = "trained"
MEAN = "mean"
POPULARITY = "popularity"
POLICIES: Mapping[str, str] = MappingProxyType(
    {
        TRAINED: "the row as training left it",
        MEAN: "the mean of all known ids' rows",
        POPULARITY: "the mean weighted by how often each id occurs",
    }
)


class UnknownPolicyError(ValueError):
    """No policy of that name."""


def check(policy: str) -> str:
    """The policy's name.

    Raises:
        UnknownPolicyError: there is none; the message lists those that there are.
    """
    if policy not in POLICIES:
        raise UnknownPolicyError(f"unknown policy {policy!r}: choose one of {', '.join(POLICIES)}")
    return policy


def row(
    policy: str, table: Float32, vocabulary: tuple[str, ...], counts: Mapping[str, int]
) -> Float32:
    """The out-of-vocabulary row by a policy, `float32[dimension]`.

    Args:
        policy: its name.
        table: `float32[rows, dimension]`; row 0 is out-of-vocabulary, row i is of id i - 1.
        vocabulary: known ids.
        counts: how often each occurs; an id that isn't there weighs nothing.
    """
    if policy == TRAINED or len(vocabulary) == 0:
        return table[0]
    if policy == MEAN:
        return np.asarray(table[1:].mean(axis=0, dtype=np.float64), np.float32)
    weights = np.array([counts.get(one, 0) for one in vocabulary], np.float64)
    if not weights.any():
        # Ratings of other ids than the model's tell nothing of which are popular.
        weights[:] = 1
    return np.asarray(weights @ table[1:] / weights.sum(), np.float32)


def apply(
    model: Any, policy: str, user_counts: Mapping[str, int], item_counts: Mapping[str, int]
) -> None:
    """Writes a policy's rows into a Keras model's own tables.

    Into the model, so that what Keras scores stays the yardstick for unknown ids too.

    Args:
        model: as for `serving.ranker_of`.
        policy: its name.
        user_counts: how often each user id occurs.
        item_counts: likewise, candidates.
    """
    if policy == TRAINED:
        return
    for (lookup, embedding), counts in zip(
        embedding_layers(model), (user_counts, item_counts), strict=True
    ):
        table = np.asarray(embedding.embeddings, np.float32)
        vocabulary = tuple(lookup.get_vocabulary()[1:])
        chosen = row(policy, table, vocabulary, counts)
        embedding.set_weights([np.concatenate([chosen[None], table[1:]])])
