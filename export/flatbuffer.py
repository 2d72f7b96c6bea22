"""The `.tflite` flatbuffer: reading, writing, and what stands in it.

Parsing and packing are LiteRT's own generated schema; this module adds names to its numbers.
"""

import itertools
import math
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export import verification
from export.packing import SharingBuilder, with_equal_parts_once

# The schema's object API is generated without types.
Model: TypeAlias = Any
Subgraph: TypeAlias = Any
Operator: TypeAlias = Any
Tensor: TypeAlias = Any

FILE_IDENTIFIER = b"TFL3"
# Flatbuffer offsets are 32-bit signed: a model and its buffers must stay below this.
MAX_BYTES = 2**31 - 1

# Names that the quantizer gives to constants: row scales, and tables with two values a byte.
SCALES = "scales"
PACKED = "packed"

_OP_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
_TYPE_NAMES = {v: k for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
_NUMPY: dict[int, npt.DTypeLike] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.BOOL: np.bool_,
}


class FlatbufferError(ValueError):
    """The bytes are not a whole `.tflite` flatbuffer."""


@dataclass(frozen=True)
class OpUse:
    """How often one op stands in one signature's graph."""

    signature: str
    op: str
    version: int
    count: int


@dataclass(frozen=True)
class TensorSize:
    """A constant's place in the file: its role, shape, type and bytes (a shared buffer once)."""

    name: str
    role: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@contextmanager
def whole() -> Iterator[None]:
    """Turns what reading a damaged or hostile file raises into one kind of error.

    Raises:
        FlatbufferError: for whatever the work inside raised over the file's content.
    """
    try:
        yield
    except FlatbufferError:
        raise
    except (
        struct.error,
        LookupError,
        StopIteration,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        MemoryError,
        RecursionError,
    ) as error:
        reason = str(error) or type(error).__name__
        raise FlatbufferError(f"damaged .tflite file: {reason}") from error


def read(source: bytes | Path) -> Model:
    """Parses a model; every index in it points at something.

    Raises:
        FlatbufferError: not a `.tflite` file, a damaged one, or one beyond the limits of
            `export.verification`.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    if len(data) < 8 or data[4:8] != FILE_IDENTIFIER:
        raise FlatbufferError("no TFL3 identifier: this is not a .tflite file")
    with whole():
        return verification.parse(data)


def content(path: Path) -> bytes:
    """A file's bytes, to be parsed or run.

    Raises:
        FlatbufferError: it can't be read, is no plain file, or is larger than a `.tflite` can be.
    """
    try:
        if not path.is_file():
            raise FlatbufferError(f"{path} is {'no plain' if path.exists() else 'not a'} file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise FlatbufferError(f"{path} has {size:,} bytes: a .tflite file ends at 2 GiB")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, FlatbufferError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise FlatbufferError(f"can't read {path} ({reason})") from error


def write(model: Model) -> bytes:
    """Packs a model; equal models give equal bytes.

    Raises:
        FlatbufferError: the file would pass the flatbuffer limit of 2 GiB.
    """
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    if size > MAX_BYTES:
        raise FlatbufferError(f"{size:,} bytes of constants pass the 2 GiB limit of a .tflite file")
    builder = SharingBuilder(size + 65_536)
    builder.Finish(with_equal_parts_once(model).Pack(builder), file_identifier=FILE_IDENTIFIER)
    return bytes(builder.Output())


def op_name(model: Model, op: Operator) -> str:
    """The op's builtin name, or `CUSTOM:` and the custom op's own name (Flex ops are such)."""
    code = model.operatorCodes[op.opcodeIndex]
    # The older one-byte field holds codes below 127, and stands alone in old files.
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    name = _OP_NAMES.get(builtin, f"OP {builtin}")
    return f"CUSTOM:{text(code.customCode)}" if name == "CUSTOM" else name


def op_code(model: Model, name: str, version: int) -> int:
    """Index of the op's code in the model, added where it isn't there yet."""
    builtin = getattr(schema.BuiltinOperator, name)
    for index, code in enumerate(model.operatorCodes):
        if code.version == version and builtin == max(code.builtinCode, code.deprecatedBuiltinCode):
            return index
    code = schema.OperatorCodeT()
    code.builtinCode = builtin
    code.deprecatedBuiltinCode = min(builtin, 127)
    code.version = version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def operators(model: Model) -> Iterator[tuple[Subgraph, Operator, str]]:
    """Every op of every subgraph, with its name."""
    for subgraph in model.subgraphs:
        for op in subgraph.operators:
            yield subgraph, op, op_name(model, op)


def inputs(op: Operator) -> list[int]:
    """The op's input tensors' indices; -1 stands for one left out."""
    return [int(i) for i in op.inputs] if op.inputs is not None else []


def outputs(op: Operator) -> list[int]:
    """The op's output tensors' indices."""
    return [int(i) for i in op.outputs] if op.outputs is not None else []


def text(value: bytes | str | None) -> str:
    """A flatbuffer string as text; what is no UTF-8 stands as replacement characters."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""


def type_name(tensor: Tensor) -> str:
    """The tensor's type as the schema names it, such as `FLOAT32`."""
    return _TYPE_NAMES.get(tensor.type, f"TYPE {tensor.type}")


def shape(tensor: Tensor) -> tuple[int, ...]:
    """The tensor's static shape; a dynamic dimension stands as 1."""
    return tuple(int(d) for d in tensor.shape) if tensor.shape is not None else ()


def raw(model: Model, tensor: Tensor) -> npt.NDArray[np.uint8] | None:
    """A constant's bytes, or None for a tensor that is computed."""
    data = model.buffers[tensor.buffer].data
    return None if data is None or len(data) == 0 else np.asarray(data, np.uint8)


def constant(model: Model, tensor: Tensor) -> npt.NDArray[Any] | None:
    """A numeric constant's values, or None for a computed tensor or one of strings."""
    data = raw(model, tensor)
    dtype = _NUMPY.get(tensor.type)
    if data is None or dtype is None:
        return None
    return data.view(dtype).reshape(shape(tensor))


def strings(model: Model, tensor: Tensor) -> list[bytes]:
    """A constant string tensor's values.

    Layout (TensorFlow Lite's string_util.h): int32 count, count + 1 int32 offsets, the bytes.

    Raises:
        FlatbufferError: it has another layout.
    """
    data = raw(model, tensor)
    if data is None:
        return []
    content = data.tobytes()
    with whole():
        (count,) = struct.unpack_from("<i", content)
        offsets = struct.unpack_from(f"<{count + 1}i", content, 4)
        # Strings that overlap would make a small constant an endless one.
        ascending = all(a <= b for a, b in itertools.pairwise(offsets))
        if not ascending or offsets[0] < 0 or offsets[-1] > len(content):
            raise FlatbufferError("damaged .tflite file: strings outside their constant")
        return [content[a:b] for a, b in itertools.pairwise(offsets)]


def signature_names(model: Model) -> dict[int, str]:
    """Each signature's subgraph index and name."""
    return {d.subgraphIndex: text(d.signatureKey) for d in model.signatureDefs or []}


def op_uses(model: Model) -> tuple[OpUse, ...]:
    """The op list by signature; the tables' initializer goes as `(initializer)`."""
    names = signature_names(model)
    uses: Counter[tuple[str, str, int]] = Counter()
    for index, subgraph in enumerate(model.subgraphs):
        for op in subgraph.operators:
            version = model.operatorCodes[op.opcodeIndex].version
            uses[names.get(index, "(initializer)"), op_name(model, op), version] += 1
    return tuple(OpUse(*key, count) for key, count in sorted(uses.items()))


def vocabularies(model: Model) -> tuple[tuple[bytes, ...], ...]:
    """The keys of each string hash table, in the order of their ids."""
    found = []
    for subgraph, op, name in operators(model):
        if name == "HASHTABLE_IMPORT":
            found.append(tuple(strings(model, subgraph.tensors[inputs(op)[1]])))
    return tuple(found)


def vocabulary(model: Model, signature: str, input_name: str) -> tuple[bytes, ...]:
    """The keys of the hash table that looks up one input of a signature; none where none does.

    A table is filled in the initializer and used elsewhere: its number is the same in both.
    """
    filled = _tables(model, "HASHTABLE_IMPORT")
    for definition in model.signatureDefs or []:
        if text(definition.signatureKey) != signature:
            continue
        wanted = {m.tensorIndex for m in definition.inputs if text(m.name) == input_name}
        for table, subgraph, op in _tables(model, "HASHTABLE_FIND"):
            here = subgraph is model.subgraphs[definition.subgraphIndex]
            if here and inputs(op)[1] in wanted:
                found = (g.tensors[inputs(o)[1]] for t, g, o in filled if t == table)
                return tuple(strings(model, next(found)))
    return ()


def _tables(model: Model, kind: str) -> list[tuple[int, Subgraph, Operator]]:
    """Every op of that kind, with the number of the hash table it works on."""
    found = []
    for subgraph in model.subgraphs:
        makers = {int(o): op for op in subgraph.operators for o in outputs(op)}
        for op in subgraph.operators:
            if op_name(model, op) == kind:
                maker = makers[inputs(op)[0]]
                found.append((int(maker.builtinOptions.tableId), subgraph, op))
    return found


def parameters(model: Model) -> dict[str, int]:
    """How many trained numbers each signature's graph holds: tables, dense kernels, biases.

    Scales are not counted: they are the quantizer's.
    """
    counts: dict[str, int] = {}
    for index, signature in signature_names(model).items():
        subgraph = model.subgraphs[index]
        wide = widened(model, subgraph)
        sizes: dict[int, int] = {}
        for op in subgraph.operators:
            places = {"GATHER": (0,), "FULLY_CONNECTED": (1, 2), "ADD": (0, 1)}
            operands = inputs(op)
            for place in places.get(op_name(model, op), ()):
                operand = operands[place] if place < len(operands) else -1
                tensor = subgraph.tensors[wide.get(operand, operand)]
                if operand < 0 or type_name(tensor) in ("STRING", "INT32", "INT64"):
                    continue
                if raw(model, tensor) is not None and text(tensor.name) != SCALES:
                    sizes[tensor.buffer] = _values(place, tensor)
        counts[signature] = sum(sizes.values())
    return counts


def widened(model: Model, subgraph: Subgraph) -> dict[int, int]:
    """What each DEQUANTIZE makes, and of what."""
    return {
        int(op.outputs[0]): inputs(op)[0]
        for op in subgraph.operators
        if op_name(model, op) == "DEQUANTIZE"
    }


def _values(place: int, tensor: Tensor) -> int:
    """How many values a constant holds: int4 rows are half as wide as what is made of them."""
    count = math.prod(shape(tensor))
    packed = place == 0 and text(tensor.name) == PACKED
    return 2 * count if packed else count


def widened_tables(model: Model) -> int:
    """How many embedding look-ups read a table that an op has first widened whole."""
    count = 0
    for subgraph, op, name in operators(model):
        if name == "GATHER":
            tensor = subgraph.tensors[inputs(op)[0]]
            computed = raw(model, tensor) is None and inputs(op)[0] not in list(subgraph.inputs)
            count += computed and type_name(tensor).startswith("FLOAT")
    return count


def tensor_sizes(model: Model) -> tuple[TensorSize, ...]:
    """Every constant above 256 bytes, largest first; a shared buffer counts once."""
    roles: dict[int, TensorSize] = {}
    for subgraph in model.subgraphs:
        wide = widened(model, subgraph)
        for op in subgraph.operators:
            name = op_name(model, op)
            if name == "DEQUANTIZE":
                continue  # The op that reads the wide form tells what it is.
            for position, operand in enumerate(inputs(op)):
                index = wide.get(operand, operand)
                if index < 0:
                    continue
                tensor = subgraph.tensors[index]
                data = raw(model, tensor)
                if data is None or len(data) <= 256 or tensor.buffer in roles:
                    continue
                role = _role(name, position, tensor)
                roles[tensor.buffer] = TensorSize(
                    text(tensor.name), role, shape(tensor), type_name(tensor), len(data)
                )
    return tuple(sorted(roles.values(), key=lambda size: -size.bytes))


def _role(op: str, position: int, tensor: Tensor) -> str:
    if op.startswith("HASHTABLE") or type_name(tensor) == "STRING":
        return "vocabulary"
    if op == "GATHER" and position == 0:
        return "embedding table"
    if op == "FULLY_CONNECTED":
        return "dense"
    return "other"
