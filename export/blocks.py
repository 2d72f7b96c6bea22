"""Blocks of rows, as Arrow tables: their id columns, and which rows can't be scored."""

from collections.abc import Iterator, Set
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

REASON = "dead_letter_reason"
# A block's ids go to the runtime as one tensor with 32-bit offsets; no sane id is near this.
MAX_ID_BYTES = 65_536

NULL = "null"
NOT_UTF8 = "not_utf8"
TOO_LONG = "too_long"
NOT_FINITE = "not_finite"
RUNTIME = "runtime"
FAULTS = {
    NULL: "is null",
    NOT_UTF8: "is not UTF-8",
    TOO_LONG: f"is longer than {MAX_ID_BYTES:,} bytes",
    NOT_FINITE: "is not finite",
    RUNTIME: "can't be computed",
}
"""Why rows are not scored, by the name of their counter."""


class ColumnError(ValueError):
    """A column is missing, has a type that ids can't have, or is there already."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that matter; all others pass through."""

    user: str
    candidate: str
    score: str

    @property
    def ids(self) -> tuple[str, str]:
        """The two id columns."""
        return self.user, self.candidate


@dataclass(frozen=True)
class Ids:
    """An id column, each different id once.

    Attributes:
        unique: the ids as UTF-8 bytes, `object[u]`.
        codes: each row's place in `unique`, `int64[n]`; -1 for a null.
    """

    unique: npt.NDArray[np.object_]
    codes: npt.NDArray[np.int64]

    def values(self) -> npt.NDArray[np.object_]:
        """Every row's id, `object[n]`; equal ids are one object, which makes pickles small."""
        return self.unique[self.codes]

    def unknown(self, vocabulary: Set[bytes]) -> int:
        """How many rows have an id that is not in the vocabulary."""
        known = np.array([value in vocabulary for value in self.unique], bool)
        return int(np.sum(~known[self.codes]))


@dataclass(frozen=True)
class Rejected:
    """Rows that can't be scored for one reason: the fault's name, and the rows with the reason."""

    fault: str
    rows: pa.Table


def check_schema(schema: pa.Schema, columns: Columns) -> None:
    """Whether tables of this schema can be scored.

    Raises:
        ColumnError: they can't; the message says what to do.
    """
    for name in columns.ids:
        if name not in schema.names:
            raise ColumnError(
                f"no column {name!r} (there are {', '.join(schema.names)}): "
                "name it with --user-column and --item-column"
            )
        kind = schema.field(name).type
        if not (_is_text(kind) or pa.types.is_integer(kind)):
            raise ColumnError(f"column {name!r} is {kind}: ids are strings, bytes or integers")
    if columns.score in schema.names:
        raise ColumnError(f"column {columns.score!r} is there already: choose a --score-column")


def scored_schema(schema: pa.Schema, columns: Columns) -> pa.Schema:
    """The schema with the score at its end."""
    return schema.append(pa.field(columns.score, pa.float32()))


def rejected_schema(schema: pa.Schema) -> pa.Schema:
    """The schema with the reason at its end, so that mended rows can be scored as they are."""
    if REASON in schema.names:
        schema = schema.remove(schema.get_field_index(REASON))
    return schema.append(pa.field(REASON, pa.string()))


def cut(table: pa.Table, rows: int) -> Iterator[pa.Table]:
    """Blocks of at most so many rows; nothing is copied."""
    for start in range(0, table.num_rows, rows):
        yield table.slice(start, rows)


def ids(column: pa.ChunkedArray) -> Ids:
    """Reads an id column: text as it is, integers by their decimal digits."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_integer(column.type):
        column = column.cast(pa.string())
    encoded = pa.compute.dictionary_encode(column.cast(pa.large_binary()).combine_chunks())
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    unique = np.empty(len(encoded.dictionary), object)
    unique[:] = encoded.dictionary.to_pylist()
    codes = encoded.indices.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False)
    return Ids(unique, codes)


def sift(table: pa.Table, columns: Columns) -> tuple[pa.Table, list[Rejected]]:
    """Takes out the rows whose ids can't be scored.

    Returns:
        The rows that can, and all others by their fault; the first faulty column gives it.
    """
    rejected = []
    left = np.ones(table.num_rows, bool)
    for name in columns.ids:
        column = ids(table[name])
        faults = np.array([*(_fault(value) for value in column.unique), NULL], object)
        by_row = faults[column.codes]  # A null's code is -1: the last one.
        for fault in FAULTS:
            rows = left & (by_row == fault)
            if rows.any():
                rejected.append(reject(table.filter(pa.array(rows)), fault, name))
                left &= ~rows
    return (table if left.all() else table.filter(pa.array(left))), rejected


def sift_scores(table: pa.Table, columns: Columns) -> tuple[pa.Table, list[Rejected]]:
    """Takes out the rows whose score is NaN or infinite."""
    finite = pa.compute.is_finite(table[columns.score])
    if pa.compute.all(finite).as_py() in (True, None):
        return table, []
    bad = table.filter(pa.compute.invert(finite)).drop_columns([columns.score])
    return table.filter(finite), [reject(bad, NOT_FINITE, columns.score)]


def reject(table: pa.Table, fault: str, name: str, detail: str = "") -> Rejected:
    """Marks rows with the reason why they are not scored."""
    reason = f"{name} {FAULTS[fault]}" + (f": {detail}" if detail else "")
    schema = rejected_schema(table.schema)
    reasons = pa.array([reason] * table.num_rows, pa.string())
    kept = table.select(schema.names[:-1])
    return Rejected(fault, kept.append_column(schema.field(REASON), reasons))


def _fault(value: bytes) -> str | None:
    if len(value) > MAX_ID_BYTES:
        return TOO_LONG
    try:
        value.decode()
    except UnicodeDecodeError:  # Also of a lone surrogate, which UTF-8 has no form for.
        return NOT_UTF8
    return None


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_binary,
        pa.types.is_large_binary,
    )
    return any(test(kind) for test in tests)
