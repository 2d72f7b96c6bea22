"""Ratings as training takes them: records, vocabularies with their counts, and the split."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

USER = "user_id"
ITEM = "movie_title"
LABEL = "user_rating"
COLUMNS_BATCH = 100_000

NOTICE_SECONDS = 20.0
SHOWN_SECONDS = 0.2

Notice = Callable[[str], None]


class RatingsError(ValueError):
    """The ratings can't be had from the source named; the message says what to do."""


@dataclass(frozen=True)
class RatingsSource:
    """Where ratings came from: `kind` is download, embedded, files, table or tfds; `detail` names
    it.
    """

    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}"

    @property
    def is_movielens(self) -> bool:
        """Whether it is MovieLens 100k as the tutorial reads it."""
        return self.kind in ("download", "embedded", "files")


@runtime_checkable
class ShowsRows(Protocol):
    """A `Notice` that may have a progress bar."""

    @property
    def has_bar(self) -> bool:
        """Whether there is one: a log has none."""

    def rows(self, work: str, done: int, total: int | None, pace: str) -> None:
        """Moves the bar: rows done, of how many where that is known, and both in words."""


class Pace:
    """Tells how many rows have been worked on and how fast: a line every 20 seconds, or a bar.

    Args:
        work: what is being done.
        notice: told so.
        total: how many rows there are, where that is known.
    """

    def __init__(self, work: str, notice: Notice, total: int | None = None) -> None:
        self._work, self._notice, self._total = work, notice, total
        self._bar = notice if isinstance(notice, ShowsRows) and notice.has_bar else None
        self._rows, self._start = 0, time.monotonic()
        self._said = self._start

    def add(self, rows: int) -> None:
        """Counts rows that are done."""
        self._rows += rows
        now = time.monotonic()
        if now - self._said < (SHOWN_SECONDS if self._bar else NOTICE_SECONDS):
            return
        self._said = now
        pace = f"{self._rows:,} rows, {self._rows / (now - self._start):,.0f} a second"
        if self._bar:
            self._bar.rows(self._work, self._rows, self._total, pace)
        else:
            self._notice(f"{self._work}: {pace}")


@dataclass(frozen=True)
class Split:
    """Ratings to train on, and ratings to test."""

    train: tf.data.Dataset
    test: tf.data.Dataset


@dataclass(frozen=True)
class Ratings:
    """All ratings, in their source's order.

    Attributes:
        dataset: elements `{"movie_title": string, "user_id": string, "user_rating": float32}`,
            whatever the source calls its columns.
        rows: how many there are.
        user_ids: the vocabulary, `bytes[users]`, unique and sorted.
        movie_titles: likewise, `bytes[titles]`.
        user_counts: each user's number of ratings, `int64[users]`.
        movie_counts: likewise, `int64[titles]`.
        source: where they came from.
        checksum: SHA-256 over the records in order.
        splitter: makes the split for a seed.
    """

    dataset: tf.data.Dataset
    rows: int
    user_ids: npt.NDArray[Any]
    movie_titles: npt.NDArray[Any]
    user_counts: npt.NDArray[np.int64]
    movie_counts: npt.NDArray[np.int64]
    source: RatingsSource
    checksum: str
    splitter: Callable[[int], Split]

    def split(self, seed: int) -> Split:
        """The split of that seed: the same one each time."""
        return self.splitter(seed)


def columns(dataset: tf.data.Dataset) -> dict[str, npt.NDArray[Any]]:
    """A dataset's elements as arrays, one a column: strings as `bytes` objects."""
    batches = list(dataset.batch(COLUMNS_BATCH).as_numpy_iterator())
    return {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}


def vocabulary(
    counts: Mapping[bytes, int], min_count: int
) -> tuple[npt.NDArray[np.object_], npt.NDArray[np.int64]]:
    """Ids that occur `min_count` times at least, sorted, and how often each does."""
    kept = sorted(one for one, count in counts.items() if count >= min_count)
    ids = np.empty(len(kept), dtype=object)
    ids[:] = kept
    return ids, np.array([counts[one] for one in kept], np.int64)
