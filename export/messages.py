"""Messages between a process and its child: JSON and raw bytes, read without trusting the sender.

An interpreter that a hostile file has taken over can send anything. A pickle would then run its
code here; what is read below can only be numbers, texts, bytes and arrays of a bounded size.

A message is two uint64 lengths, the JSON and the blobs. Arrays and bytes stand in the JSON as
`{"@": [kind, …]}` and in the blobs one after the other.
"""

import json
import math
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np

MAX_BYTES = 2**32
"""The longest message that is read: a file of 2 GiB with room for its inputs."""

_HEAD = struct.Struct("<QQ")
_MARK = "@"
# Kinds of NumPy's plain numbers: no objects, no structures, no pointers.
_NUMBERS = "?bhilqBHILQefdFD"


class MessageError(ValueError):
    """What came is no message: the sender broke off, or is not what it should be."""


def send(stream: IO[bytes], content: Any) -> None:
    """Writes a message: None, numbers, texts, bytes, paths, and lists, dictionaries and arrays.

    Arrays of dtype object hold `bytes`. Tuples come out as lists, and
    paths as texts.
    """
    blobs: list[bytes] = []

    def marked(value: Any) -> Any:
        if isinstance(value, bytes):
            blobs.append(value)
            return {_MARK: ["bytes", len(value)]}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Path):
            return str(value)
        if not isinstance(value, np.ndarray):
            raise TypeError(f"no {type(value).__name__} goes into a message")
        if value.dtype.kind in "OS":
            texts = value.reshape(-1).tolist()
            blobs.append(np.array([len(text) for text in texts], "<i8").tobytes())
            blobs.append(b"".join(texts))
            return {_MARK: ["texts", list(value.shape), len(blobs[-1])]}
        if value.dtype.char not in _NUMBERS:
            raise TypeError(f"no array of {value.dtype} goes into a message")
        blobs.append(value.tobytes())
        return {_MARK: ["array", list(value.shape), value.dtype.char]}

    head = json.dumps(content, default=marked).encode()
    stream.write(_HEAD.pack(len(head), sum(map(len, blobs))))
    stream.write(head)
    for blob in blobs:
        stream.write(blob)
    stream.flush()


def receive(stream: IO[bytes], limit: int = MAX_BYTES) -> Any:
    """Reads a message.

    Args:
        stream: where from.
        limit: the longest that is read, bytes.

    Raises:
        EOFError: the stream has ended.
        MessageError: it is cut off, too long, or malformed.
    """
    lengths = stream.read(_HEAD.size)
    if not lengths:
        raise EOFError
    if len(lengths) < _HEAD.size:
        raise MessageError("cut off")
    head_length, blobs_length = _HEAD.unpack(lengths)
    if head_length + blobs_length > limit:
        raise MessageError(f"{head_length + blobs_length:,} bytes are too long")
    head, blobs = stream.read(head_length), stream.read(blobs_length)
    if len(head) < head_length or len(blobs) < blobs_length:
        raise MessageError("cut off")
    reader = _Reader(blobs)
    try:
        content = json.loads(head, object_hook=reader.unmarked)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise MessageError(f"malformed: {error}") from error
    return content


class _Reader:
    """Takes arrays and bytes from the blobs, in the order in which the JSON names them."""

    def __init__(self, blobs: bytes) -> None:
        self._blobs, self._position = blobs, 0

    def unmarked(self, value: dict[str, Any]) -> Any:
        """What a dictionary of the JSON stands for."""
        if value.keys() != {_MARK}:
            return value
        kind, *rest = value[_MARK]
        if kind == "bytes":
            return self._take(*rest)
        if kind == "texts":
            return self._texts(*rest)
        if kind == "array":
            return self._array(*rest)
        raise ValueError(f"kind {kind!r}")

    def _take(self, length: int) -> bytes:
        if not 0 <= length <= len(self._blobs) - self._position:
            raise ValueError("a length beyond the message")
        start, self._position = self._position, self._position + length
        return self._blobs[start : self._position]

    def _array(self, shape: list[int], code: str) -> Any:
        if len(code) != 1 or code not in _NUMBERS:
            raise ValueError(f"array of {code!r}")
        dtype = np.dtype(code)
        content = self._take(_count(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape).copy()

    def _texts(self, shape: list[int], joined: int) -> Any:
        count = _count(shape)
        lengths = np.frombuffer(self._take(8 * count), "<i8")
        content = self._take(joined)
        # Each first, since a sum of int64 may wrap around.
        if count and (lengths.min() < 0 or lengths.max() > joined):
            raise ValueError("texts beyond the message")
        ends = np.cumsum(lengths)
        if (int(ends[-1]) if count else 0) != joined:
            raise ValueError("texts beyond the message")
        texts = np.empty(count, object)
        texts[:] = [content[end - length : end] for end, length in zip(ends, lengths, strict=True)]
        return texts.reshape(shape)


def _count(shape: list[int]) -> int:
    if not all(isinstance(size, int) and size >= 0 for size in shape):
        raise ValueError("a shape of other than counts")
    return math.prod(shape)
