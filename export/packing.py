"""Packing: equal parts of a model written once, and constants aligned as TFLite asks."""

import copy
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types

# tflite's schema has `force_align: 16` on constants, which the generated Python code leaves out:
# kernels may load from a mapped file with instructions that need it.
CONSTANT_ALIGNMENT = 16


class SharingBuilder(flatbuffers.Builder):
    """Shares names, shapes, scales and constants between tensors, signatures and ops.

    A flatbuffer is read by offsets, so any number of tables may point at one vector; `flatc`
    itself shares strings and vtables like this. Vectors of offsets are left alone: the same
    bytes mean another thing elsewhere.
    """

    def __init__(self, initial_size: int) -> None:
        super().__init__(initial_size)
        self._written: dict[tuple[int, bytes], int] = {}
        self._start = 0
        self._element = 0
        self._alignment = 0

    def StartVector(self, elem_size: int, num_elems: int, alignment: int) -> Any:  # noqa: N802
        """Begins a vector; remembers where, in case it has been written before."""
        # Offsets from the end: the front moves when the buffer grows.
        self._start = self.Offset()
        self._element = elem_size
        self._alignment = CONSTANT_ALIGNMENT if elem_size == 1 else alignment
        return super().StartVector(elem_size, num_elems, self._alignment)

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        """Writes a string, or finds it."""
        self._start = self.Offset()
        self._element = self._alignment = 1
        return int(super().CreateString(s, encoding, errors))

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        """Writes an offset: what it stands in can't be shared."""
        self._element = 0
        super().PrependUOffsetTRelative(off)

    def EndVector(self, *arguments: Any) -> int:  # noqa: N802
        """Ends a vector: takes it back where an equal one stands already."""
        count = self.vectorNumElems
        offset = int(super().EndVector(*arguments))
        if not self._element:
            return offset
        end = len(self.Bytes) - self._start
        # Padding before the data depends on the place: compare length and data alone.
        size = number_types.UOffsetTFlags.bytewidth + count * self._element
        key = (self._alignment, bytes(self.Bytes[self.Head() : self.Head() + size]))
        if key in self._written:
            self.head = end
            return self._written[key]
        self._written[key] = offset
        return offset


class _Once:
    """A part of a model, such as a tensor or an op's options: packed unless an equal one was."""

    def __init__(self, part: Any, packed: dict[Any, int]) -> None:
        self._part = part
        self._packed = packed

    def Pack(self, builder: SharingBuilder) -> int:  # noqa: N802
        """The table's offset."""
        key = _content(self._part)
        if key not in self._packed:
            self._packed[key] = int(self._part.Pack(builder))
        return self._packed[key]


def with_equal_parts_once(model: Any) -> Any:
    """A model of the same content, whose equal tensors and options are one table when packed.

    Readers follow offsets, so two tensors of one subgraph may be one table: each still has its
    own index, and its own place in memory.

    Args:
        model: a `ModelT`; it stays as it is.
    """
    packed: dict[Any, int] = {}
    slim = copy.copy(model)
    slim.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    for graph in slim.subgraphs:
        graph.tensors = [_Once(_tensor(tensor, packed), packed) for tensor in graph.tensors or []]
        graph.operators = [copy.copy(op) for op in graph.operators or []]
        for op in graph.operators:
            if op.builtinOptions is not None:
                op.builtinOptions = _Once(op.builtinOptions, packed)
    return slim


def _tensor(tensor: Any, packed: dict[Any, int]) -> Any:
    slim = copy.copy(tensor)
    for name in ("quantization", "sparsity"):
        if getattr(tensor, name) is not None:
            setattr(slim, name, _Once(getattr(tensor, name), packed))
    return slim


def _content(part: Any) -> Any:
    """What a part holds, to be compared: its kind and all its fields."""
    if isinstance(part, _Once):
        return _content(part._part)
    if isinstance(part, (list, tuple, np.ndarray)):
        return tuple(_content(one) for one in part)
    if hasattr(part, "__dict__"):
        return type(part).__name__, *((k, _content(v)) for k, v in sorted(vars(part).items()))
    # By their digits: -0 is not 0, and NaN is itself.
    return float(part).hex() if isinstance(part, (float, np.floating)) else part
