"""Ratings of one's own: vocabularies by one counted pass over a table, and its split."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from model.blocks import Block, ColumnNames, Table, open_table
from model.ratings import (
    ITEM,
    LABEL,
    USER,
    Notice,
    Pace,
    Ratings,
    RatingsError,
    Split,
    vocabulary,
)

# One row in five is tested on, as in the tutorial.
TEST_SHARE = 5
# StringLookup keeps this name for its out-of-vocabulary row.
RESERVED = b"[UNK]"
# Counts of blocks that are kept before they are summed up.
MOST_ENTRIES = 500_000


def load(
    source: str,
    names: ColumnNames,
    data_dir: Path | None = None,
    min_count: int = 1,
    notice: Notice = lambda message: None,
) -> Ratings:
    """Reads a table once to count its ids; training streams it again, a block at a time.

    Args:
        source: as for `blocks.open_table`.
        names: the table's columns.
        data_dir: TFDS's data directory.
        min_count: rarer ids stay out of the vocabularies: they train the out-of-vocabulary row.
        notice: told how many rows have been read, and at what rate.

    Raises:
        RatingsError: it can't be read, has a row that can't be used, or too few.
    """
    table = open_table(source, names, data_dir)
    counted = _Counted()
    pace = Pace("counting ids", notice)
    for block in table.blocks():
        counted.add(block)
        pace.add(len(block.labels))
    if counted.rows < 2:
        raise RatingsError(
            f"{source} has {counted.rows} ratings: one to train on and one to test are the least"
        )
    users, items = counted.users.by_id(), counted.items.by_id()
    for counts in (users, items):
        if counts.pop(RESERVED, 0):
            notice(f"the id {RESERVED.decode()} is taken as out-of-vocabulary")
    user_ids, user_counts = vocabulary(users, min_count)
    titles, title_counts = vocabulary(items, min_count)
    for kind, ids in (("user", user_ids), ("item", titles)):
        if not len(ids):
            raise RatingsError(f"{source}: no {kind} has {min_count} ratings: lower --min-count")
    return Ratings(
        dataset=_dataset(table, lambda rows: np.ones(len(rows), bool)),
        rows=counted.rows,
        user_ids=user_ids,
        movie_titles=titles,
        user_counts=user_counts,
        movie_counts=title_counts,
        source=table.source,
        checksum=counted.checksum,
        splitter=lambda seed: _split(table, counted.rows, seed),
    )


class _Counted:
    """What one pass gathers: rows, ids with their counts, and a checksum of the columns."""

    def __init__(self) -> None:
        self.rows = 0
        self.users, self.items = _Counts(), _Counts()
        # A digest for each kind of thing, so that it doesn't matter where blocks end.
        self._digests = [hashlib.sha256() for _ in range(5)]

    def add(self, block: Block) -> None:
        self.rows += len(block.labels)
        for place, (ids, counts) in enumerate(
            ((block.users, self.users), (block.items, self.items))
        ):
            counts.add(ids)
            # Arrow's own layout: where each string begins, and all of their bytes.
            _, offsets, content = ids.buffers()
            ends = np.frombuffer(offsets, np.int32)[ids.offset : ids.offset + len(ids) + 1]
            self._digests[2 * place].update(np.diff(ends).astype(np.int64).tobytes())
            if ends[-1] > ends[0]:
                self._digests[2 * place + 1].update(memoryview(content)[ends[0] : ends[-1]])
        self._digests[4].update(block.labels.tobytes())

    @property
    def checksum(self) -> str:
        return hashlib.sha256(b"".join(d.digest() for d in self._digests)).hexdigest()


class _Counts:
    """How often each id occurs; as Arrow tables, summed up now and then."""

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._entries = 0

    def add(self, ids: Any) -> None:
        """Counts a block's ids, Arrow `string[n]`."""
        found = pc.value_counts(ids)
        self._parts.append(pa.table({"id": found.field("values"), "count": found.field("counts")}))
        self._entries += len(found)
        if self._entries > MOST_ENTRIES:
            self._parts = [self._summed()]
            # Later the more there are, or a long table would be summed over and over.
            self._entries = -len(self._parts[0])

    def _summed(self) -> Any:
        summed = pa.concat_tables(self._parts).group_by("id").aggregate([("count", "sum")])
        return summed.select(["id", "count_sum"]).rename_columns(["id", "count"])

    def by_id(self) -> dict[bytes, int]:
        """The counts by the ids' UTF-8 bytes."""
        if not self._parts:
            return {}
        summed = self._summed()
        return dict(
            zip(_bytes(summed.column("id")), summed.column("count").to_pylist(), strict=True)
        )


def _bytes(ids: Any) -> list[bytes]:
    return list(ids.cast(pa.binary()).to_pylist())


def _split(table: Table, rows: int, seed: int) -> Split:
    """Every fifth row by a hash of its number: the same rows each time, wherever blocks end."""
    tested = in_test(np.arange(min(rows, 1000)), seed)
    if rows <= 1000 and (tested.all() or not tested.any()):
        # A handful of rows may all fall on one side.
        return Split(
            _dataset(table, lambda numbers: numbers > 0),
            _dataset(table, lambda numbers: numbers == 0),
        )
    return Split(
        _dataset(table, lambda numbers: ~in_test(numbers, seed)),
        _dataset(table, lambda numbers: in_test(numbers, seed)),
    )


def in_test(numbers: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.bool_]:
    """Which rows are tested on, `bool[n]`, by their numbers, `int64[n]`.

    The hash is SplitMix64's finalizer (Steele, Lea and Flood 2014, "Fast splittable
    pseudorandom number generators").
    """
    mixed = numbers.astype(np.uint64) + np.uint64(seed * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) % np.uint64(TEST_SHARE) == 0


def _dataset(
    table: Table, chosen: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.bool_]]
) -> tf.data.Dataset:
    """The chosen rows as the model takes them, streamed."""

    def batches() -> Iterator[dict[str, npt.NDArray[Any]]]:
        for block in table.blocks():
            mask = chosen(np.arange(block.first, block.first + len(block.labels)))
            if mask.any():
                yield {
                    USER: np.array(_bytes(block.users.filter(mask)), dtype=object),
                    ITEM: np.array(_bytes(block.items.filter(mask)), dtype=object),
                    LABEL: block.labels[mask],
                }

    signature = {
        USER: tf.TensorSpec([None], tf.string),
        ITEM: tf.TensorSpec([None], tf.string),
        LABEL: tf.TensorSpec([None], tf.float32),
    }
    return tf.data.Dataset.from_generator(batches, output_signature=signature).unbatch()
