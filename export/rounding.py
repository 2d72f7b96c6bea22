"""Rounding: matrices in small integers, with their scales."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

INT8_LEVELS = 127
INT4_LEVELS = 7


class NotFiniteError(ValueError):
    """A matrix holds NaN or infinite numbers, which no small integer stands for."""


@dataclass(frozen=True)
class QuantizedRows:
    """A table in small integers, with one scale a row.

    A row's scale is `unit` times its code: a byte a row, where a float32 would be an eighth of
    an int8 row of 32. Codes are rounded up, so no value is cut off; a row's step is at most one
    unit, the widest row's step over 127, above the finest that would hold it.

    Attributes:
        values: `int8[rows, columns]`, from -levels to levels.
        codes: `int8[rows, 1]`, 1 to 127.
        unit: of the scales.
    """

    values: Int8
    codes: Int8
    unit: np.float32

    @property
    def scales(self) -> Float32:
        """`float32[rows, 1]`."""
        return self.codes.astype(np.float32) * self.unit

    @property
    def widened(self) -> Float32:
        """The table as the file's graph computes it: `float32[rows, columns]`."""
        return self.values.astype(np.float32) * self.scales


def quantize_rows(table: Float32, levels: int = INT8_LEVELS) -> QuantizedRows:
    """Symmetric quantization with one scale a row.

    Args:
        table: `float32[rows, columns]`.
        levels: the largest value: 127 for int8, 7 for int4.

    Returns:
        The quantized table; `widened` differs from it by at most half a row's scale (and by
        float32's rounding).

    Raises:
        NotFiniteError: it holds NaN or infinite numbers.
    """
    if not np.isfinite(table).all():
        shape = " x ".join(map(str, table.shape))
        rows = np.flatnonzero(~np.isfinite(table).all(axis=1))
        raise NotFiniteError(
            f"the matrix of {shape} holds NaN or infinite numbers, first in row {rows[0]}"
        )
    largest = np.abs(table).max(axis=1, keepdims=True, initial=0.0).astype(np.float64)
    # Never 0: a table of zeros, or of numbers so small that the unit would vanish.
    smallest = float(np.finfo(np.float32).tiny)
    unit = np.float32(max(largest.max(initial=0.0) / levels / INT8_LEVELS, smallest))
    codes = np.clip(np.ceil(largest / levels / float(unit)), 1, INT8_LEVELS)
    values = np.clip(np.rint(table / (codes * float(unit))), -levels, levels)
    return QuantizedRows(values.astype(np.int8), codes.astype(np.int8), unit)


def pack_pairs(values: Int8) -> Int8:
    """Two int4 values a byte.

    Args:
        values: `int8[rows, columns]`, from -7 to 7, an even number of columns.

    Returns:
        `int8[rows, columns / 2]`: byte j is 16 times value j plus value j + columns / 2. So
        ROUND(byte / 16) gives the left half of a row (no tie: the rest is at most 7) and the
        rest the right half, and the halves side by side have the columns in order.
    """
    left, right = np.split(values.astype(np.int16), 2, axis=1)
    return (16 * left + right).astype(np.int8)


def unpack_pairs(packed: Int8) -> Int8:
    """The inverse of `pack_pairs`, by the arithmetic that the graph does."""
    sixteenths = packed.astype(np.float32) / 16
    left = np.rint(sixteenths)
    return np.concatenate([left, (sixteenths - left) * 16], axis=1).astype(np.int8)


def quantize_tensor(weights: Float32) -> tuple[Int8, Float32]:
    """Symmetric int8 with one scale: values of the weights' shape, and the scale `float32[1]`."""
    rows = quantize_rows(weights.reshape(1, -1))
    return rows.values.reshape(weights.shape), rows.scales.reshape(1)
