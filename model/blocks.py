"""Blocks of rows read from tables: CSV, Parquet and TFDS, a block in memory at a time."""

import glob
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.dataset as pa_dataset
import tensorflow_datasets as tfds

from model.ratings import RatingsError, RatingsSource

BLOCK_ROWS = 65_536
CSV_SUFFIXES = (".csv", ".csv.gz", ".csv.bz2", ".csv.zst", ".tsv", ".tsv.gz")
PARQUET_SUFFIXES = (".parquet", ".pq")
TFDS_PREFIX = "tfds:"


@dataclass(frozen=True)
class ColumnNames:
    """What a source calls its columns."""

    user: str = "user_id"
    item: str = "movie_title"
    label: str = "user_rating"

    def __iter__(self) -> Iterator[str]:
        return iter((self.user, self.item, self.label))


@dataclass(frozen=True)
class Block:
    """Some rows.

    Attributes:
        first: number of the first row in its source, from 0.
        users: ids, Arrow `string[n]`, none null or empty.
        items: likewise.
        labels: `float32[n]`, finite.
    """

    first: int
    users: Any
    items: Any
    labels: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Table:
    """A source that can be read again and again; `blocks()` begins at its first row."""

    source: RatingsSource
    blocks: Callable[[], Iterator[Block]]


def open_table(source: str, names: ColumnNames, data_dir: Path | None = None) -> Table:
    """Opens a source: nothing but its columns' names is read yet.

    Args:
        source: a CSV or Parquet file, a folder or glob of such, or a TFDS name.
        names: its columns.
        data_dir: TFDS's data directory; its own default where None.

    Raises:
        RatingsError: there is no such source, or it lacks a column.
    """
    if source.startswith(TFDS_PREFIX):
        return _tfds_table(source.removeprefix(TFDS_PREFIX), names, data_dir)
    return _file_table(source, _files(source), names)


def is_table(source: str) -> bool:
    """Whether a source names a table: TFDS's, a CSV or Parquet file, or several."""
    if source.startswith(TFDS_PREFIX) or glob.has_magic(source):
        return True
    path = Path(source).expanduser()
    return path.name.endswith(CSV_SUFFIXES + PARQUET_SUFFIXES) or bool(_inside(path))


def _files(source: str) -> list[Path]:
    path = Path(source).expanduser()
    if path.is_file():
        return [path]
    # `Path.glob` takes no absolute patterns.
    matches = glob.glob(str(path), recursive=True)  # noqa: PTH207
    found = _inside(path) if path.is_dir() else sorted(map(Path, matches))
    if not found:
        raise RatingsError(
            f"no such file, folder or glob: {source} (CSV or Parquet; TFDS's go as tfds:NAME)"
        )
    return found


def _inside(folder: Path) -> list[Path]:
    """The tables in a folder, in the order of their names; hidden ones are somebody's scratch."""
    if not folder.is_dir():
        return []
    found = (p for p in folder.rglob("*") if p.name.endswith(CSV_SUFFIXES + PARQUET_SUFFIXES))
    return sorted(p for p in found if not p.name.startswith((".", "_")))


def _file_table(source: str, files: list[Path], names: ColumnNames) -> Table:
    kinds = {path.name.endswith(PARQUET_SUFFIXES) for path in files}
    unknown = [p for p in files if not p.name.endswith(CSV_SUFFIXES + PARQUET_SUFFIXES)]
    if unknown:
        endings = ", ".join(CSV_SUFFIXES + PARQUET_SUFFIXES)
        raise RatingsError(f"{unknown[0]} is no table that can be read: give {endings}")
    if len(kinds) > 1:
        raise RatingsError(f"{source} has both CSV and Parquet files: give one kind at a time")
    with _clear_errors(source):
        data = pa_dataset.dataset(
            [str(path) for path in files],
            format=_parquet_format() if kinds.pop() else _csv_format(files, names),
        )
    _check_columns(source, data.schema.names, names)

    def blocks() -> Iterator[Block]:
        with _clear_errors(source):
            # One fragment after another, so that rows come in the files' order and memory holds
            # a few blocks whatever the files' size.
            scanner = data.scanner(
                columns=list(names), batch_size=BLOCK_ROWS, batch_readahead=2, fragment_readahead=1
            )
            yield from _blocks(source, scanner.to_batches(), names)

    detail = f"{source} ({len(files)} file{'s' if len(files) > 1 else ''})"
    return Table(RatingsSource("table", detail), blocks)


def _parquet_format() -> Any:
    # Else a file's columns stay in memory until its end.
    options = pa_dataset.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
    return pa_dataset.ParquetFileFormat(default_fragment_scan_options=options)


def _csv_format(files: list[Path], names: ColumnNames) -> Any:
    tabs = {".tsv" in path.suffixes for path in files}
    # Ids stay the text that they are: 007 is not 7.
    types = {names.user: pa.string(), names.item: pa.string(), names.label: pa.float64()}
    return pa_dataset.CsvFileFormat(
        parse_options=pa_csv.ParseOptions(
            delimiter="\t" if tabs == {True} else ",", newlines_in_values=True
        ),
        convert_options=pa_csv.ConvertOptions(column_types=types),
    )


def _tfds_table(name: str, names: ColumnNames, data_dir: Path | None) -> Table:
    try:
        builder = tfds.builder(name, data_dir=None if data_dir is None else str(data_dir))
        if not builder.info.splits:
            builder.download_and_prepare()
        features = list(builder.info.features)
    except Exception as error:  # TFDS raises a dozen kinds, its transport others.
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RatingsError(f"TFDS can't give {name!r}: {reason}") from error
    _check_columns(f"{TFDS_PREFIX}{name}", features, names)

    def blocks() -> Iterator[Block]:
        dataset = builder.as_dataset(split="all").map(
            lambda record: {column: record[column] for column in names}
        )
        batches = (
            pa.RecordBatch.from_arrays([pa.array(batch[column]) for column in names], list(names))
            for batch in dataset.batch(BLOCK_ROWS).as_numpy_iterator()
        )
        yield from _blocks(f"{TFDS_PREFIX}{name}", batches, names)

    return Table(RatingsSource("tfds", f"{name} {builder.version}"), blocks)


def _check_columns(source: str, there: list[str], names: ColumnNames) -> None:
    options = ("--user-column", "--item-column", "--label-column")
    for name, option in zip(names, options, strict=True):
        if there.count(name) != 1:
            problem = "no column" if name not in there else "more than one column"
            raise RatingsError(
                f"{source} has {problem} {name!r}: name another with {option} "
                f"(there: {', '.join(dict.fromkeys(there)) or 'none'})"
            )


class _clear_errors:  # noqa: N801 - used as a function
    """Turns what Arrow raises about a source into one clear line."""

    def __init__(self, source: str) -> None:
        self._source = source

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, pa.ArrowException | OSError | UnicodeDecodeError):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RatingsError(f"{self._source} can't be read: {reason}") from error


def _blocks(source: str, batches: Iterator[Any], names: ColumnNames) -> Iterator[Block]:
    first = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        yield Block(
            first,
            _ids(source, names.user, batch.column(names.user), first),
            _ids(source, names.item, batch.column(names.item), first),
            _labels(source, names.label, batch.column(names.label), first),
        )
        first += batch.num_rows


def _ids(source: str, name: str, values: Any, first: int) -> Any:
    """Ids of any simple type as strings; a null or empty one is an error, and so is one that ends
    in NUL: StringLookup takes it for the id without.
    """
    if pa.types.is_floating(values.type):
        # 42.0 is what a table makes of 42 once a row lacks it; 42.5 is no id.
        values = pc.cast(values, pa.int64())
    elif pa.types.is_nested(values.type):
        raise RatingsError(f"{source}: column {name!r} holds {values.type}, which is no id")
    ids = pc.cast(values, pa.string())
    # Parquet's strings are taken as they are: what is no UTF-8 would show in training alone.
    ids.validate(full=True)
    bad = pc.or_kleene(pc.is_null(ids), pc.equal(ids, ""))
    _refuse(source, name, pc.fill_null(bad, True), first, "is missing or empty")
    _refuse(source, name, pc.ends_with(ids, "\0"), first, "ends in a NUL character")
    return ids


def _labels(source: str, name: str, values: Any, first: int) -> npt.NDArray[np.float32]:
    if pa.types.is_string(values.type) or pa.types.is_nested(values.type):
        raise RatingsError(f"{source}: column {name!r} holds {values.type}: labels are numbers")
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.int8())
    labels = pc.cast(pc.cast(values, pa.float64()), pa.float32(), safe=False)
    bad = pc.invert(pc.fill_null(pc.is_finite(labels), False))
    _refuse(source, name, bad, first, "is missing, NaN or infinite")
    return np.asarray(labels.to_numpy(zero_copy_only=False), np.float32)


def _refuse(source: str, name: str, bad: Any, first: int, what: str) -> None:
    count = pc.sum(bad).as_py() or 0
    if count:
        row = first + pc.index(bad, True).as_py() + 1
        raise RatingsError(
            f"{source}: column {name!r} {what} in row {row:,} (not counting a heading): "
            "drop or mend such rows first"
        )
