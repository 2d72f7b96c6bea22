"""Edits of a parsed model's graphs: new constants, new ops, buffers kept once."""

from typing import Any

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int8): schema.TensorType.INT8,
}


def add_buffer(model: flatbuffer.Model, values: npt.NDArray[Any]) -> int:
    """Adds a constant's bytes to the model; returns the buffer's index."""
    buffer = schema.BufferT()
    buffer.data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    model.buffers.append(buffer)
    return len(model.buffers) - 1


def add_tensor(
    subgraph: flatbuffer.Subgraph,
    name: str | None,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    buffer: int = 0,
    scale: npt.NDArray[np.float32] | None = None,
) -> int:
    """Adds a tensor to a subgraph.

    Args:
        subgraph: where to.
        name: shown by inspection tools; for constants, since a computed tensor has its op.
        shape: its static shape; -1 marks a dynamic dimension.
        dtype: its NumPy type.
        buffer: the constant's buffer; 0, the empty one, for a computed tensor.
        scale: symmetric quantization: one value, or one for each slice of dimension 0.

    Returns:
        The tensor's index.
    """
    tensor = schema.TensorT()
    tensor.name = name
    tensor.shape = [max(d, 1) for d in shape]
    if -1 in shape:
        tensor.shapeSignature = list(shape)
    tensor.type = _TYPES[np.dtype(dtype)]
    tensor.buffer = buffer
    tensor.hasRank = True
    if scale is not None:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = scale
        tensor.quantization.zeroPoint = np.zeros(len(scale), np.int64)
    subgraph.tensors.append(tensor)
    return len(subgraph.tensors) - 1


def make_op(
    model: flatbuffer.Model,
    name: str,
    version: int,
    inputs: list[int],
    output: int,
    options: Any = None,
) -> flatbuffer.Operator:
    """A builtin op, to be put in a subgraph's list.

    Args:
        model: whose op codes it uses.
        name: the builtin's name.
        version: the lowest version with these types (TensorFlow's op_version.cc), since an
            older runtime refuses a later one.
        inputs: tensors' indices.
        output: a tensor's index.
        options: the op's `…OptionsT`, where it has one.
    """
    op = schema.OperatorT()
    op.opcodeIndex = flatbuffer.op_code(model, name, version)
    op.inputs = inputs
    op.outputs = [output]
    if options is not None:
        op.builtinOptions = options
        kind = type(options).__name__.removesuffix("T")
        op.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    return op


def share_buffers(model: flatbuffer.Model) -> None:
    """Keeps equal constants once, and drops constants that no tensor or metadata uses."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    kept = [model.buffers[0]]  # By convention the empty one.
    seen: dict[bytes, int] = {}
    moved = {0: 0}
    for index in sorted(used - {0}):
        buffer = model.buffers[index]
        content = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
        if not content:
            moved[index] = 0
            continue
        if content not in seen:
            seen[content] = len(kept)
            kept.append(buffer)
        moved[index] = seen[content]
    model.buffers = kept
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = moved[tensor.buffer]
    for entry in model.metadata or []:
        entry.buffer = moved[entry.buffer]


def drop_unused_tensors(model: flatbuffer.Model) -> None:
    """Drops tensors that no op, input, output or signature uses; renumbers the rest."""
    for index, graph in enumerate(model.subgraphs):
        signatures = [d for d in model.signatureDefs or [] if d.subgraphIndex == index]
        maps = [m for d in signatures for m in [*(d.inputs or []), *(d.outputs or [])]]
        used = {m.tensorIndex for m in maps}
        used.update(int(i) for ends in (graph.inputs, graph.outputs) for i in _list(ends))
        for op in graph.operators:
            used.update(int(i) for ends in (op.inputs, op.outputs) for i in _list(ends))
        order = sorted(used - {-1})
        moved = {old: new for new, old in enumerate(order)} | {-1: -1}
        graph.tensors = [graph.tensors[old] for old in order]
        for owner in (graph, *graph.operators):
            owner.inputs = [moved[int(i)] for i in _list(owner.inputs)]
            owner.outputs = [moved[int(i)] for i in _list(owner.outputs)]
        for entry in maps:
            entry.tensorIndex = moved[entry.tensorIndex]


def drop_empty_quantization(model: flatbuffer.Model) -> None:
    """Drops the empty quantization that the converter gives every tensor."""
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            quantization = tensor.quantization
            if quantization is not None and not len(_list(quantization.scale)):
                tensor.quantization = None


def shorten_names(model: flatbuffer.Model) -> None:
    """Drops tensors' names: converter names are long scopes, repeated in each signature.

    Signatures keep their own names of inputs and outputs, apart from the tensors'.
    """
    for index, graph in enumerate(model.subgraphs):
        signatures = [d for d in model.signatureDefs or [] if d.subgraphIndex == index]
        maps = [m for d in signatures for m in [*(d.inputs or []), *(d.outputs or [])]]
        names = {m.tensorIndex: flatbuffer.text(m.name) for m in maps}
        for number, tensor in enumerate(graph.tensors):
            tensor.name = names.get(number)


def number_tables(model: flatbuffer.Model) -> None:
    """Numbers hash tables from 0, in the order of their first use.

    The converter's numbers count what the process has made before, which is no part of the model.
    """
    numbers: dict[int, int] = {}
    for _, op, name in flatbuffer.operators(model):
        if name == "HASHTABLE":
            table = int(op.builtinOptions.tableId)
            op.builtinOptions.tableId = numbers.setdefault(table, len(numbers))


def count_vocabulary_ids(model: flatbuffer.Model) -> None:
    """Makes the hash tables' values, first, first + 1, …, by RANGE in the initializer.

    A converted table stores 8 bytes for each of them. RANGE is int32, which runtimes have had
    since long before its int64 form.
    """
    for subgraph in model.subgraphs:
        ops: list[flatbuffer.Operator] = []
        for op in subgraph.operators:
            if flatbuffer.op_name(model, op) == "HASHTABLE_IMPORT":
                ops += _range_of_values(model, subgraph, op)
            ops.append(op)
        subgraph.operators = ops


def _range_of_values(
    model: flatbuffer.Model, subgraph: flatbuffer.Subgraph, op: flatbuffer.Operator
) -> list[flatbuffer.Operator]:
    resource, keys, values_index = flatbuffer.inputs(op)
    values = flatbuffer.constant(model, subgraph.tensors[values_index])
    if values is None or values.dtype != np.int64 or values.size < 2:
        return []
    first, last = int(values[0]), int(values[-1])
    if not np.array_equal(values, np.arange(first, last + 1)) or last >= np.iinfo(np.int32).max:
        return []
    ends = [
        add_tensor(subgraph, None, (), np.int32, add_buffer(model, np.array(value, np.int32)))
        for value in (first, last + 1, 1)
    ]
    narrow = add_tensor(subgraph, None, (values.size,), np.int32)
    wide = add_tensor(subgraph, None, (values.size,), np.int64)
    op.inputs = [resource, keys, wide]
    return [
        make_op(model, "RANGE", 1, ends, narrow, schema.RangeOptionsT()),
        make_op(model, "CAST", 1, [narrow], wide),
    ]


def _list(values: Any) -> list[int]:
    return [] if values is None else list(values)
