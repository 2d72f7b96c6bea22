"""Weights: what a file stores, widened again, against what was trained.

Scores alone don't show every fault: rows of two titles that score alike can change places within
a recipe's largest error. The stored numbers themselves can't: each must lie within half a step
of its trained one.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from export import flatbuffer, rounding, serving
from export.quantization import Recipe

Float32 = npt.NDArray[np.float32]

LEVELS = {"int8": rounding.INT8_LEVELS, "int4": rounding.INT4_LEVELS}


def misrounded(model: flatbuffer.Model, ranker: serving.Ranker, recipe: Recipe) -> dict[str, int]:
    """How many trained numbers a file stores other than rounded as its recipe rounds.

    Args:
        model: the file, parsed.
        ranker: what was trained, as `export.stable_units` leaves it.
        recipe: how its numbers are stored.

    Returns:
        For each table, kernel and bias: the numbers beyond half a step, in the signature that
        has most of them. An array that a signature doesn't hold counts whole.
    """
    stored = [
        list(_stored(model, model.subgraphs[index])) for index in flatbuffer.signature_names(model)
    ]
    counts = {}
    for name, trained, kind in _trained(ranker, recipe):
        bound = _bound(trained, kind, rows=name.endswith("table"))
        counts[name] = max(
            (_beyond(trained, bound, arrays) for arrays in stored), default=trained.size
        )
    return counts


def _trained(ranker: serving.Ranker, recipe: Recipe) -> Iterator[tuple[str, Float32, str]]:
    """Every trained array as files store it, with its name and how it is rounded."""
    yield "users' table", ranker.users.table, recipe.tables
    yield "candidates' table", ranker.candidates.table, recipe.tables
    dense = recipe.dense.split("_")[0]
    for number, layer in enumerate(ranker.dense, 1):
        if number == 1:
            # The first layer is taken in halves, one for each table's rows.
            at = ranker.users.table.shape[1]
            yield "dense 1, users' kernel", layer.kernel[:at], dense
            yield "dense 1, candidates' kernel", layer.kernel[at:], dense
        else:
            yield f"dense {number}, kernel", layer.kernel, dense
        yield f"dense {number}, bias", layer.bias, "float32"


def _bound(trained: Float32, kind: str, rows: bool) -> npt.NDArray[np.float64]:
    """The most that rounding may move each number: `float64`, of a shape that broadcasts.

    Args:
        trained: the numbers.
        kind: how they are stored.
        rows: with one scale a row, as tables have, or one in all, as kernels have.
    """
    size = np.abs(trained.astype(np.float64))
    if kind == "float32":
        return np.zeros_like(size)
    if kind == "float16":
        # Half a step of 11 bits; below 2**-14, half of the smallest step there is.
        return np.maximum(size * 2.0**-11, 2.0**-25)
    # A row's step is at most its largest value's, and a code's (`rounding.QuantizedRows`).
    levels = LEVELS[kind]
    largest = size.max(axis=1 if rows else None, keepdims=True, initial=0)
    # As there, the unit of scales never is below float32's smallest normal number.
    unit = max(
        largest.max(initial=0) / levels / rounding.INT8_LEVELS, float(np.finfo(np.float32).tiny)
    )
    step = largest / levels + unit
    # The product of value and scale is rounded to float32, 127 times 6e-8 of a step; and to the
    # smallest number there is.
    return step / 2 * (1 + 1e-4) + float(np.finfo(np.float32).smallest_subnormal)


def _beyond(trained: Float32, bound: npt.NDArray[np.float64], arrays: list[Float32]) -> int:
    """How many numbers lie beyond the bound, in the stored array that is nearest."""
    if not trained.any() and trained.ndim == 1:
        return 0  # The converter drops a bias of zeros.
    found = [
        # Not "greater than": a NaN is beyond any bound.
        int(np.sum(~(np.abs(array.astype(np.float64) - trained) <= bound)))
        for array in arrays
        if array.shape == trained.shape
    ]
    return min(found, default=trained.size)


def _stored(model: flatbuffer.Model, graph: flatbuffer.Subgraph) -> Iterator[Float32]:
    """Every table, kernel `[in, out]` and bias of a graph, as its ops compute with them."""
    wide = flatbuffer.widened(model, graph)

    def values(index: int) -> npt.NDArray[np.generic] | None:
        return _values(model, graph.tensors[wide.get(index, index)]) if index >= 0 else None

    scales = {}
    for op in graph.operators:
        operands = flatbuffer.inputs(op)
        name = flatbuffer.op_name(model, op)
        if name == "GATHER" and _is_named(graph, operands[0], flatbuffer.SCALES):
            scales[operands[1], graph.tensors[operands[0]].shape[0]] = values(operands[0])
    for op in graph.operators:
        operands = flatbuffer.inputs(op)
        name = flatbuffer.op_name(model, op)
        if name == "GATHER" and not _is_named(graph, operands[0], flatbuffer.SCALES):
            table = values(operands[0])
            if table is not None and table.ndim == 2:
                yield _rows(model, graph, operands, table, scales)
        elif name == "FULLY_CONNECTED":
            kernel = values(operands[1])
            if kernel is not None:
                yield kernel.T.astype(np.float32)
        if name in ("FULLY_CONNECTED", "ADD"):
            for index in operands[2:] if name == "FULLY_CONNECTED" else operands:
                bias = values(index)
                if bias is not None and bias.dtype == np.float32:
                    yield bias.reshape(-1).astype(np.float32)


def _rows(
    model: flatbuffer.Model,
    graph: flatbuffer.Subgraph,
    operands: list[int],
    table: npt.NDArray[np.generic],
    scales: dict[tuple[int, int], npt.NDArray[np.generic] | None],
) -> Float32:
    """A table with its rows' scales, where it has such."""
    if _is_named(graph, operands[0], flatbuffer.PACKED):
        packed = flatbuffer.constant(model, graph.tensors[operands[0]])
        assert packed is not None
        table = rounding.unpack_pairs(packed)
    rows = scales.get((operands[1], table.shape[0]))
    widened = table.astype(np.float32)
    return widened if rows is None else widened * rows.astype(np.float32)


def _values(model: flatbuffer.Model, tensor: flatbuffer.Tensor) -> npt.NDArray[np.generic] | None:
    """A numeric constant, times its scale where it has one."""
    values = flatbuffer.constant(model, tensor)
    scale = getattr(tensor.quantization, "scale", None)
    if values is None or scale is None or len(scale) != 1:
        return values
    return values.astype(np.float32) * np.float32(scale[0])


def _is_named(graph: flatbuffer.Subgraph, index: int, name: str) -> bool:
    return flatbuffer.text(graph.tensors[index].name) == name
