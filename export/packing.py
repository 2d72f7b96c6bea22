"""A flatbuffer builder that writes equal vectors once, and aligns constants as TFLite asks."""

from typing import Any

import flatbuffers
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
