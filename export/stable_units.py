"""Stable units: hidden units that do the same for all ids, and a ranker that does without them."""

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from export.serving import DenseLayer, Ranker

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

# What bounding may take: all pairs of MovieLens 100k's in two seconds. Of larger vocabularies or
# layers groups of rows stand for rows, which is as safe, and finds fewer units.
MULTIPLY_ADDS = 40_000_000_000
# Values of a layer at a time, 64 MiB.
BLOCK_VALUES = 2**24
# Of either table, looked at first: where nothing is stable for them the rest need not be.
SAMPLE_ROWS = 100
# How far a merged unit may be scaled: its bias must stay within float32.
MOST_SCALE = 1000.0


@dataclass(frozen=True)
class Range:
    """The least and the greatest that sums come to, before relu: two of `float32[…, units]`."""

    least: Float32
    greatest: Float32

    def over_all(self) -> "Range":
        """Of each unit: two of `float32[units]`."""
        return Range(self.least.min(axis=0), self.greatest.max(axis=0))

    @property
    def is_exact(self) -> bool:
        """Whether both are one array: sums themselves, of rows that stand alone."""
        return self.least is self.greatest

    def may_be_stable(self) -> bool:
        """Whether more pairs may still leave a unit on one side of 0."""
        return bool(((self.least >= 0) | (self.greatest <= 0)).any())

    def __or__(self, other: "Range") -> "Range":
        return Range(np.minimum(self.least, other.least), np.maximum(self.greatest, other.greatest))


@dataclass(frozen=True)
class LayerUnits:
    """A hidden layer's units, counted.

    Attributes:
        units: as trained.
        inactive: that fire for no pair of ids.
        active: that fire for every pair.
        left: in the file.
    """

    units: int
    inactive: int
    active: int
    left: int


@dataclass(frozen=True)
class Simplified:
    """A ranker of the same scores, and what became of each hidden layer.

    Attributes:
        ranker: what goes into the file.
        layers: the hidden layers, in order.
        trained_parameters: numbers that were trained, those left out among them.
    """

    ranker: Ranker
    layers: tuple[LayerUnits, ...]
    trained_parameters: int

    def __str__(self) -> str:
        """What became of the units, for people."""
        units, inactive, active, left = (
            sum(getattr(layer, name) for layer in self.layers)
            for name in ("units", "inactive", "active", "left")
        )
        if left == units:
            return f"{units:,}, as trained"
        return (
            f"{left:,} of {units:,}: {inactive:,} never fire, and are left out; {active:,} always "
            "do, and are merged where that is fewer"
        )


def simplify(ranker: Ranker, most_pairs: int | None = None) -> Simplified:
    """Leaves out hidden units that never fire, and merges those that always do.

    A ranker knows finitely many ids, so each unit's sum has bounds. Where it is never above 0,
    relu gives 0, and the unit can go. Where it is never below 0, relu does nothing: such units
    are linear, and for each unit that follows they add up to two, one of those that it adds and
    one of those that it subtracts, neither ever below 0. After Serra, Kumar and Ramalingam,
    "Lossless Compression of Deep Neural Networks" (CPAIOR 2020), who bound sums with a solver.

    Args:
        ranker: what was trained; its tables' rows, 0 among them, are all that it can be asked for.
        most_pairs: of rows, or groups of rows, to bound sums for; else as many as can be afforded.

    Returns:
        A ranker with the same scores, but for float32's rounding.
    """
    if not any(one.may_be_stable() for one in ranges(_sample(ranker))[:-1]):
        return kept(ranker)
    dense = list(ranker.dense)
    bounds = ranges(ranker, most_pairs)
    layers = []
    # Backwards: active units are merged into fewer where fewer follow.
    for index in reversed(range(len(dense) - 1)):
        layer = dense[index]
        inactive = (bounds[index].greatest <= 0) & layer.relu
        active = (bounds[index].least >= 0) & ~inactive & layer.relu
        dense[index], dense[index + 1] = _without(layer, dense[index + 1], inactive, active)
        counts = layer.bias.size, int(inactive.sum()), int(active.sum()), dense[index].bias.size
        layers.append(LayerUnits(*counts))
    return Simplified(
        replace(ranker, dense=tuple(dense)), tuple(reversed(layers)), ranker.parameters
    )


def kept(ranker: Ranker) -> Simplified:
    """A ranker with every unit as trained."""
    layers = (layer.bias.size for layer in ranker.dense[:-1])
    return Simplified(ranker, tuple(LayerUnits(n, 0, 0, n) for n in layers), ranker.parameters)


def _sample(ranker: Ranker) -> Ranker:
    """A ranker of some of the rows: what is not stable for them is not for all."""
    users, candidates = (
        replace(tower, table=tower.table[:: max(len(tower.table) // SAMPLE_ROWS, 1)])
        for tower in (ranker.users, ranker.candidates)
    )
    return replace(ranker, users=users, candidates=candidates)


def _without(
    layer: DenseLayer, following: DenseLayer, inactive: Bool, active: Bool
) -> tuple[DenseLayer, DenseLayer]:
    """Two layers without the first one's inactive units, its active ones merged if that is fewer.

    A merged unit is scaled to the largest weight of those that are left, since a kernel is stored
    with one scale; one that never fires is left where none else would be.
    """
    staying = ~inactive & ~active
    outgoing = following.kernel[active]
    merged = [
        (unit, sign, np.maximum(sign * outgoing[:, unit], 0))
        for unit in range(outgoing.shape[1])
        for sign in (1, -1)
        if (sign * outgoing[:, unit] > 0).any()
    ]
    if len(merged) >= active.sum():
        staying, merged = ~inactive, []
    if not staying.any() and not merged:
        staying[0] = True
    largest = np.abs(layer.kernel[:, staying]).max(initial=0)
    kernels, biases = [layer.kernel[:, staying]], [layer.bias[staying]]
    followings = [following.kernel[staying]]
    for unit, sign, weights in merged:
        kernel, bias = layer.kernel[:, active] @ weights, layer.bias[active] @ weights
        ratio = np.abs(kernel).max() / largest if largest else 1.0
        scale = np.float32(np.clip(ratio, 1 / MOST_SCALE, MOST_SCALE))
        kernels.append((kernel / scale)[:, None])
        biases.append((bias / scale)[None])
        row = np.zeros((1, outgoing.shape[1]), np.float32)
        row[0, unit] = sign * scale
        followings.append(row)
    return (
        replace(layer, kernel=np.concatenate(kernels, axis=1), bias=np.concatenate(biases)),
        replace(following, kernel=np.concatenate(followings)),
    )


def ranges(ranker: Ranker, most_pairs: int | None = None) -> tuple[Range, ...]:
    """Bounds of all dense layers' sums over all pairs of rows, as float32 computes them.

    Args:
        ranker: the ranker.
        most_pairs: up to them, and for the first layer always, bounds are attained. Beyond, they
            are those of groups of rows: a group's values lie around a midpoint within a radius,
            and so do their sums (Rump, "Fast and Parallel Interval Arithmetic", BIT 1999).
            As many as can be afforded where left out.
    """
    first, *others = ranker.dense
    most_pairs = most_pairs or MULTIPLY_ADDS // max(sum(one.kernel.size for one in others), 1)
    at_once = max(BLOCK_VALUES // max(layer.bias.size for layer in ranker.dense), 1)
    at = ranker.users.table.shape[1]
    user_table, candidate_table = ranker.users.table, ranker.candidates.table
    groups = _counts(len(user_table), len(candidate_table), most_pairs, at_once)
    users = _halves(user_table, first.kernel[:at], groups[0])
    candidates = _halves(candidate_table, first.kernel[at:], groups[1])
    all_users, all_candidates = users.over_all(), candidates.over_all()
    shallow = Range(
        all_users.least + all_candidates.least + first.bias,
        all_users.greatest + all_candidates.greatest + first.bias,
    )
    blocks = _blocks(users, candidates, first.bias, at_once)
    by_layer = zip(*(_deeper(sums, ranker.dense) for sums in blocks), strict=True)
    return (shallow, *(functools.reduce(operator.or_, layer) for layer in by_layer))


def _counts(users: int, candidates: int, most_pairs: int, most: int) -> tuple[int, int]:
    """How many groups either table's rows are put into: one a row where all pairs fit."""
    fewer, more = sorted((users, candidates))
    few = min(fewer, max(math.isqrt(most_pairs), 1), most)
    many = min(more, max(most_pairs // few, 1), most)
    return (few, many) if users <= candidates else (many, few)


def _halves(table: Float32, kernel: Float32, count: int) -> Range:
    """Bounds of each group's half of the first layer's sums: two of `float32[count, units]`."""
    if count >= len(table):
        sums = table @ kernel
        return Range(sums, sums)
    least = np.empty((count, kernel.shape[1]), np.float32)
    greatest = np.empty_like(least)
    for group, rows in enumerate(_groups(table, np.arange(len(table)), count)):
        sums = table[rows] @ kernel
        least[group], greatest[group] = sums.min(axis=0), sums.max(axis=0)
    return Range(least, greatest)


def _groups(table: Float32, rows: Rows, count: int) -> Iterator[Rows]:
    """Rows in groups that lie close, of about one size.

    A group is halved where it spreads most, as k-d trees do.
    """
    if count == 1:
        yield rows
        return
    values = table[rows]
    values = values[:, np.argmax(values.var(axis=0))]
    at = len(rows) * (count // 2) // count
    order = np.argpartition(values, at)
    yield from _groups(table, rows[order[:at]], count // 2)
    yield from _groups(table, rows[order[at:]], count - count // 2)


def _blocks(users: Range, candidates: Range, bias: Float32, at_once: int) -> Iterator[Range]:
    """Bounds of the first layer's sums, of some users' groups with all candidates'."""
    step = max(at_once // len(candidates.least), 1)

    def sums(some: Float32, others: Float32) -> Float32:
        return (some[:, None] + (others + bias)).reshape(-1, len(bias))

    exact = users.is_exact and candidates.is_exact
    for start in range(0, len(users.least), step):
        some = slice(start, start + step)
        least = sums(users.least[some], candidates.least)
        yield Range(least, least if exact else sums(users.greatest[some], candidates.greatest))


def _deeper(sums: Range, dense: tuple[DenseLayer, ...]) -> list[Range]:
    """Bounds of the sums of all layers after the first, given the first one's by groups."""
    found = []
    for layer, following in itertools.pairwise(dense):
        low = np.maximum(sums.least, 0) if layer.relu else sums.least
        if sums.is_exact:
            least = greatest = low @ following.kernel + following.bias
        else:
            high = np.maximum(sums.greatest, 0) if layer.relu else sums.greatest
            middle = (low + high) / 2 @ following.kernel + following.bias
            radius = (high - low) / 2 @ np.abs(following.kernel)
            least, greatest = middle - radius, middle + radius
        sums = Range(least, greatest)
        found.append(sums.over_all())
    return found
