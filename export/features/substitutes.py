"""What stands, in TFLite's builtins, for ops that have none, or that quantized graphs choke on.

Each gives exactly what the op gave, but for the errors that TensorFlow would raise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from export.features.graph import Graph, Node, Substitute, Table, Values

FIND = "LookupTableFindV2"
BINCOUNT = "DenseBincount"
GATHER = "GatherV2"


class StringTable(tf.Module):
    """A look-up of strings in TFLite's hash table, which is immutable and gives int64 alone.

    Values of another type stand beside it, and the table gives their rows' numbers.
    """

    def __init__(self, table: Table) -> None:
        super().__init__()
        # In the values' order: the same content makes the same file, whatever a mutable table's
        # order was, and numbers that only count up need not be stored.
        order = np.argsort(table.values, kind="stable")
        keys, values = table.keys[order], table.values[order]
        direct = values.dtype == np.int64
        initial = tf.lookup.KeyValueTensorInitializer(
            tf.constant(keys, tf.string),
            tf.constant(values if direct else np.arange(len(keys)), tf.int64),
        )
        self._table = tf.lookup.StaticHashTable(initial, -1)
        self._values = None if direct else values

    def find(self, keys: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
        """Values of keys, of any shape."""
        if self._values is None:
            return self._find(keys, default)
        values = tf.concat([tf.constant(self._values), tf.reshape(default, [1])], axis=0)
        return tf.gather(values, self._find(keys, tf.constant(len(self._values), tf.int64)))

    def _find(self, keys: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
        found = tf.raw_ops.LookupTableFindV2(
            table_handle=self._table.resource_handle, keys=keys, default_value=default
        )
        # The converter leaves a look-up's output without a shape, which makes XNNPACK refuse a
        # quantized graph at its first run.
        return tf.reshape(found, _dimensions(keys))


class IntegerTable:
    """A look-up of integers, which TFLite has no table for: a binary search, unrolled."""

    def __init__(self, table: Table) -> None:
        order = np.argsort(table.keys, kind="stable")
        self._steps = [2**power for power in reversed(range(max(len(order), 1).bit_length()))]
        # The last key, repeated, fills the table up to one less than a power of two.
        filled = np.concatenate([order, np.full(2 * self._steps[0] - 1 - len(order), order[-1])])
        self._keys, self._values = table.keys[filled], table.values[filled]

    def find(self, keys: tf.Tensor, default: tf.Tensor) -> tf.Tensor:
        """Values of keys, of any shape."""
        sorted_keys = tf.constant(self._keys)
        # How many of the sorted keys are not above each; the first step starts from none.
        below = tf.constant(0, tf.int32)
        for step in self._steps:
            further = below + step
            below = tf.where(tf.gather(sorted_keys, further - 1) <= keys, further, below)
        row = tf.maximum(below - 1, 0)
        found = tf.equal(tf.gather(sorted_keys, row), keys)
        return tf.where(found, tf.gather(tf.constant(self._values), row), default)


def lookup_of(table: Table) -> StringTable | IntegerTable:
    """The look-up that has a table's content."""
    return StringTable(table) if table.keys.dtype == object else IntegerTable(table)


def find(graph: Graph, node: Node, inputs: Values) -> Values:
    """A look-up; the table that it reads has been fed as what `lookup_of` gives."""
    lookup, keys, default = inputs
    return [lookup.find(keys, default)]


def bincount_size(graph: Graph, node: Node) -> int | None:
    """How many bins a `DenseBincount` has; None where that depends on its input.

    Keras asks for Minimum(max, Maximum(min, values' largest + 1)) with equal ends.
    """
    constant = graph.constant(node.input[1])
    if constant is not None:
        return int(constant)
    upper, rest = _bounded(graph, graph.origin(node.input[1]), "Minimum")
    lower, _ = _bounded(graph, rest, "Maximum") if rest is not None else (None, None)
    return upper if upper is not None and upper == lower else None


def _bounded(graph: Graph, node: Node, op: str) -> tuple[int | None, Node | None]:
    """The constant side of a Minimum or Maximum, and the node of the other side."""
    if node.op != op:
        return None, None
    for side, other in ((0, 1), (1, 0)):
        constant = graph.constant(node.input[side])
        if constant is not None:
            return int(constant), graph.origin(node.input[other])
    return None, None


def bincount(graph: Graph, node: Node, inputs: Values) -> Values | None:
    """Counts of each row's values, as one-hot rows summed, or their maximum where binary."""
    values, _, weights = inputs
    size = bincount_size(graph, node)
    if size is None:
        return None
    dtype = tf.as_dtype(node.attr["T"].type)
    # A value beyond the bins counts for nothing, in TensorFlow too.
    hot = tf.one_hot(values, size, dtype=dtype)
    if node.attr["binary_output"].b:
        return [tf.reduce_max(hot, axis=-2)]
    if weights.shape.num_elements() != 0:
        hot *= weights[..., None]
    return [tf.reduce_sum(hot, axis=-2)]


def gather(graph: Graph, node: Node, inputs: Values) -> Values | None:
    """Rows of a constant table by ids of any shape, gathered flat.

    So that a recipe finds one kind of look-up, and knows the shape of what it gives.
    """
    table, ids = inputs[0], inputs[1]
    axis = graph.constant(node.input[2])
    whole = axis is not None and int(axis) == 0 and not node.attr["batch_dims"].i
    if not whole or table.shape.rank != 2 or ids.shape.rank in (None, 1):
        return None
    rows = tf.gather(table, tf.reshape(ids, [-1]))
    return [tf.reshape(rows, [*_dimensions(ids), table.shape[1]])]


def _dimensions(tensor: tf.Tensor) -> Any:
    """A shape for `reshape`: constants where only one dimension is not known."""
    static = [-1 if size is None else size for size in tensor.shape]
    if static.count(-1) <= 1:
        return static
    dynamic = tf.shape(tensor)
    return [dynamic[i] if size == -1 else size for i, size in enumerate(static)]


SUBSTITUTES: Mapping[str, Substitute] = {
    FIND: find,
    BINCOUNT: bincount,
    GATHER: gather,
}
