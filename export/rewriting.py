"""Edits of a parsed model's graphs: new constants, new ops, buffers kept once."""

import copy
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


def share_leading_columns(model: flatbuffer.Model) -> None:
    """Keeps a kernel once where another has its leading columns: both read the one buffer.

    Both become sparse tensors of a kind that leaves nothing out and only tells the order of
    dimensions: by columns. A runtime reads as many values of the buffer as the shape asks for,
    so the leading columns are its start. DENSIFY puts them in rows once, at load; XNNPACK does
    so itself, and takes what comes of it for a constant, as it would no slice.
    """
    kernels = {
        tensor.buffer: (values, _scale(tensor))
        for graph, index in _kernels(model)
        if (values := flatbuffer.constant(model, tensor := graph.tensors[index])) is not None
    }
    for part, (columns, scale) in kernels.items():
        wholes = [
            whole
            for whole, (values, other) in kernels.items()
            if leads(columns, values) and np.array_equal(scale, other)
        ]
        if not wholes:
            continue
        buffer = add_buffer(model, kernels[wholes[0]][0].T)
        for graph, index in _kernels(model):
            if graph.tensors[index].buffer in (part, wholes[0]):
                _store_by_columns(model, graph, index, buffer)


def pad_for_wholes(model: flatbuffer.Model) -> None:
    """Has a kernel read where another has its leading columns, with zeros for the rest.

    Slower than `share_leading_columns` where there are many rows, but needs no sparse tensor.
    """
    kernels = [
        (graph, index, flatbuffer.constant(model, graph.tensors[index]))
        for graph, index in _kernels(model)
    ]
    for graph, index, columns in kernels:
        for owner, other, whole in kernels:
            if columns is not None and whole is not None and leads(columns, whole):
                tensor = graph.tensors[index]
                tensor.shape, tensor.buffer = list(whole.shape), owner.tensors[other].buffer
                _pad_inputs(model, graph, index, columns.shape[1], whole.shape[1])
                break


def _pad_inputs(
    model: flatbuffer.Model, graph: flatbuffer.Subgraph, kernel: int, width: int, wanted: int
) -> None:
    """Puts a PAD before every FULLY_CONNECTED that reads the kernel."""
    ops: list[flatbuffer.Operator] = []
    for op in graph.operators:
        operands = flatbuffer.inputs(op)
        if flatbuffer.op_name(model, op) == "FULLY_CONNECTED" and operands[1] == kernel:
            ends = np.array([[0, 0], [0, wanted - width]], np.int32)
            sides = add_tensor(graph, None, ends.shape, np.int32, add_buffer(model, ends))
            padded = add_tensor(graph, None, (-1, wanted), np.float32)
            ops.append(make_op(model, "PAD", 1, [operands[0], sides], padded, schema.PadOptionsT()))
            op.inputs = [padded, *operands[1:]]
        ops.append(op)
    graph.operators = ops


def leads(columns: npt.NDArray[Any], whole: npt.NDArray[Any]) -> bool:
    """Whether a matrix is another's leading columns, and not all of them."""
    rows, count = columns.shape
    return (
        columns.dtype == whole.dtype
        and len(whole) == rows
        and count < whole.shape[1]
        and np.array_equal(columns, whole[:, :count])
    )


def _kernels(model: flatbuffer.Model) -> list[tuple[flatbuffer.Subgraph, int]]:
    """Every constant matrix that a FULLY_CONNECTED reads, itself or widened."""
    found = []
    for graph in model.subgraphs:
        wide = flatbuffer.widened(model, graph)
        operands = [
            flatbuffer.inputs(op)[1]
            for op in graph.operators
            if flatbuffer.op_name(model, op) == "FULLY_CONNECTED"
        ]
        for index in dict.fromkeys(wide.get(one, one) for one in operands):
            if flatbuffer.raw(model, graph.tensors[index]) is not None:
                found.append((graph, index))
    return found


def _scale(tensor: flatbuffer.Tensor) -> list[float]:
    return [float(one) for one in _list(getattr(tensor.quantization, "scale", None))]


def _store_by_columns(
    model: flatbuffer.Model, graph: flatbuffer.Subgraph, index: int, buffer: int
) -> None:
    """Makes a constant matrix a computed one: of a buffer that starts with its columns."""
    tensor = graph.tensors[index]
    stored = copy.copy(tensor)
    stored.buffer = buffer
    stored.sparsity = schema.SparsityParametersT()
    stored.sparsity.traversalOrder = [1, 0]
    stored.sparsity.dimMetadata = []
    for size in reversed(flatbuffer.shape(tensor)):
        dimension = schema.DimensionMetadataT()
        dimension.format = schema.DimensionType.DENSE
        dimension.denseSize = size
        stored.sparsity.dimMetadata.append(dimension)
    graph.tensors.append(stored)
    tensor.buffer, tensor.name = 0, None
    source = len(graph.tensors) - 1
    first = next(n for n, op in enumerate(graph.operators) if index in flatbuffer.inputs(op))
    densify = make_op(model, "DENSIFY", 1, [source], index, schema.DensifyOptionsT())
    graph.operators.insert(first, densify)


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
