"""Ratings of one's own: each kind of table gives the same ratings, a broken one a clear error."""

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import blocks, data, tables
from model.blocks import ColumnNames
from model.ratings import ITEM, LABEL, USER, RatingsError

NAMES = ColumnNames("listener", "track", "stars")
ROWS = 500
Write = Callable[[Path, pa.Table], None]


def write_csv(path: Path, table: pa.Table) -> None:
    pyarrow.csv.write_csv(table, path)


def write_gzip(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(table, sink)
    path.write_bytes(gzip.compress(sink.getvalue().to_pybytes()))


def write_tabs(path: Path, table: pa.Table) -> None:
    options = pyarrow.csv.WriteOptions(delimiter="\t")
    pyarrow.csv.write_csv(table, path, write_options=options)


def write_parquet(path: Path, table: pa.Table) -> None:
    pyarrow.parquet.write_table(table, path)


@pytest.fixture(scope="module")
def plays(ratings: data.Ratings) -> pa.Table:
    """The first ratings of MovieLens under other names, beside a column that nobody wants."""
    rows = data.columns(ratings.dataset.take(ROWS))
    return pa.table(
        {
            "note": ["NaN"] * ROWS,
            NAMES.user: [int(one) for one in rows[USER]],
            NAMES.item: [one.decode() for one in rows[ITEM]],
            NAMES.label: rows[LABEL],
        }
    )


def records(ratings: data.Ratings) -> list[tuple[bytes, bytes, float]]:
    found = data.columns(ratings.dataset)
    return list(zip(found[USER], found[ITEM], found[LABEL].tolist(), strict=True))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("r.csv", write_csv),
        ("r.csv.gz", write_gzip),
        ("r.tsv", write_tabs),
        ("r.parquet", write_parquet),
    ],
)
def test_every_kind_of_file_gives_the_same_ratings(
    name: str, write: Write, plays: pa.Table, tmp_path: Path
) -> None:
    write(tmp_path / name, plays)
    loaded = data.load(str(tmp_path / name), names=NAMES)
    assert loaded.rows == ROWS
    wanted = list(
        zip(
            (str(one).encode() for one in plays[NAMES.user].to_pylist()),
            (one.encode() for one in plays[NAMES.item].to_pylist()),
            plays[NAMES.label].to_pylist(),
            strict=True,
        )
    )
    assert records(loaded) == wanted
    assert loaded.checksum == checksum(plays, tmp_path)


def checksum(plays: pa.Table, folder: Path) -> str:
    write_parquet(folder / "again.pq", plays)
    return data.load(str(folder / "again.pq"), names=NAMES).checksum


def test_several_files_are_one_table(plays: pa.Table, tmp_path: Path) -> None:
    write_parquet(tmp_path / "whole.pq", plays)
    parts = tmp_path / "parts"
    parts.mkdir()
    write_parquet(parts / "b.parquet", plays.slice(200))
    write_parquet(parts / "a.parquet", plays.slice(0, 200))
    (parts / "_SUCCESS").touch()
    whole = data.load(str(tmp_path / "whole.pq"), names=NAMES)
    for source in (parts, parts / "*.parquet"):
        loaded = data.load(str(source), names=NAMES)
        assert loaded.checksum == whole.checksum
        assert records(loaded) == records(whole)


def test_blocks_do_not_show(
    plays: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "r.parquet", plays)
    whole = data.load(str(tmp_path / "r.parquet"), names=NAMES)
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    small = data.load(str(tmp_path / "r.parquet"), names=NAMES)
    assert small.checksum == whole.checksum
    for seed in (1, 2):
        test = data.columns(small.split(seed).test)
        assert test[USER].tolist() == data.columns(whole.split(seed).test)[USER].tolist()


def test_parquet_strings_that_are_no_utf8(tmp_path: Path) -> None:
    binary = pa.array([b"a", b"\xff\xfe", b"c"], pa.binary())
    ids = pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())
    items, labels = pa.array(["x", "y", "z"]), pa.array([1.0, 2.0, 3.0])
    columns = {"user_id": ids, "movie_title": items, "user_rating": labels}
    pa.parquet.write_table(pa.table(columns), tmp_path / "r.parquet")
    with pytest.raises(RatingsError, match=r"can't be read: Invalid UTF8 sequence .* index 1"):
        data.load(str(tmp_path / "r.parquet"))


def test_a_name_of_tfds(ratings: data.Ratings) -> None:
    builder_dir = Path("~/tensorflow_datasets/movielens_embedded").expanduser()
    names = ColumnNames("user_id", "movie_title", "user_rating")
    loaded = data.load("tfds:movielens/100k-ratings", builder_dir, names=names)
    assert loaded.rows == ratings.rows
    assert loaded.user_ids.tolist() == ratings.user_ids.tolist()
    assert loaded.movie_counts.tolist() == ratings.movie_counts.tolist()
    with pytest.raises(RatingsError, match="TFDS can't give 'no_such_set'"):
        data.load("tfds:no_such_set")


def test_split_is_a_fifth_and_loses_nothing(plays: pa.Table, tmp_path: Path) -> None:
    write_csv(tmp_path / "r.csv", plays)
    loaded = data.load(str(tmp_path / "r.csv"), names=NAMES)
    parts = loaded.split(42)
    train, test = data.columns(parts.train), data.columns(parts.test)
    # Binomial: 500 rows at one in five spread by 9; five times that is never seen by chance.
    assert abs(len(test[USER]) - ROWS / 5) < 45
    joined = [
        (user, item)
        for part in (train, test)
        for user, item in zip(part[USER], part[ITEM], strict=True)
    ]
    assert sorted(joined) == sorted((user, item) for user, item, _ in records(loaded))
    assert (
        tables.in_test(np.arange(1000), 1).tolist() != tables.in_test(np.arange(1000), 2).tolist()
    )


def test_rare_ids_stay_out_of_the_vocabulary(tmp_path: Path) -> None:
    text = "user_id,movie_title,user_rating\na,x,1\na,y,2\nb,x,3\na,x,4\n"
    (tmp_path / "r.csv").write_text(text)
    loaded = data.load(str(tmp_path / "r.csv"), min_count=2)
    assert (loaded.user_ids.tolist(), loaded.user_counts.tolist()) == ([b"a"], [3])
    assert (loaded.movie_titles.tolist(), loaded.movie_counts.tolist()) == ([b"x"], [3])
    assert loaded.rows == 4
    with pytest.raises(RatingsError, match="--min-count"):
        data.load(str(tmp_path / "r.csv"), min_count=9)


def test_ids_keep_their_text(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("user_id,movie_title,user_rating\n007,NA,1\n7,null,2\n")
    loaded = data.load(str(tmp_path / "r.csv"))
    assert loaded.user_ids.tolist() == [b"007", b"7"]
    assert loaded.movie_titles.tolist() == [b"NA", b"null"]


@pytest.mark.parametrize(
    ("ids", "texts"),
    [
        (pa.array([1, 22], pa.uint64()), [b"1", b"22"]),
        (pa.array([1.0, 22.0]), [b"1", b"22"]),
        (pa.array([b"a", b"\xc3\xa9"]), [b"a", "é".encode()]),
        (pa.array(["a", "b"]).dictionary_encode(), [b"a", b"b"]),
        (pa.array([True, False]), [b"false", b"true"]),
    ],
)
def test_ids_of_any_type_become_text(ids: pa.Array, texts: list[bytes], tmp_path: Path) -> None:
    table = pa.table({USER: ids, ITEM: ["x", "y"], LABEL: [1.0, 2.0]})
    write_parquet(tmp_path / "r.parquet", table)
    assert data.load(str(tmp_path / "r.parquet")).user_ids.tolist() == texts


HEAD = b"user_id,movie_title,user_rating\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "can't be read"),
        (HEAD, "has 0 ratings"),
        (HEAD + b"a,x,1\n", "has 1 ratings"),
        (HEAD + b"a,x,1\na,x,good\n", "can't be read: .*good"),
        (HEAD + b"a,x,1\na,x,nan\n", "'user_rating' is missing, NaN or infinite in row 2"),
        (HEAD + b"a,x,1\na,x,-inf\n", "'user_rating' is missing, NaN or infinite in row 2"),
        (HEAD + b"a,x,1\na,x,\n", "'user_rating' is missing, NaN or infinite in row 2"),
        (HEAD + b"a,x,1\n,x,2\n", "'user_id' is missing or empty in row 2"),
        (HEAD + b"a,x,1\na,\xe9t\xe9,2\n", "can't be read: .*UTF8"),
        (HEAD + b"a,x,1\na,x\n", "can't be read"),
        (b"user_id,movie_title\na,x\n", "no column 'user_rating'.*--label-column.*user_id"),
        (b"user_id,user_id,movie_title,user_rating\na,b,x,1\n", "multiple columns named user_id"),
    ],
)
def test_broken_csv_is_one_clear_error(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_bytes(content)
    with pytest.raises(RatingsError, match=message) as raised:
        data.load(str(tmp_path / "r.csv"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (USER, pa.array(["a", None]), "'user_id' is missing or empty in row 2"),
        (USER, pa.array(["a", "a\0"]), "'user_id' ends in a NUL character in row 2"),
        (USER, pa.array([[1], [2]]), "which is no id"),
        (USER, pa.array([1.5, 2.0]), "can't be read"),
        (USER, pa.array([b"a", b"\xff"]), "can't be read: .*UTF8"),
        (LABEL, pa.array(["4", "5"]), "labels are numbers"),
        (LABEL, pa.array([1e300, 1.0]), "NaN or infinite in row 1"),
    ],
)
def test_broken_parquet_is_one_clear_error(
    column: str, values: pa.Array, message: str, tmp_path: Path
) -> None:
    table = pa.table({USER: ["a", "b"], ITEM: ["x", "y"], LABEL: [1.0, 2.0]})
    table = table.set_column(table.schema.get_field_index(column), column, values)
    write_parquet(tmp_path / "r.parquet", table)
    with pytest.raises(RatingsError, match=message):
        data.load(str(tmp_path / "r.parquet"))


@pytest.mark.parametrize(
    ("name", "write"), [("r.csv.gz", write_gzip), ("r.parquet", write_parquet)]
)
def test_truncated_files(name: str, write: Write, plays: pa.Table, tmp_path: Path) -> None:
    write(tmp_path / name, plays)
    content = (tmp_path / name).read_bytes()
    for keep in (1, len(content) // 2, len(content) - 1):
        (tmp_path / name).write_bytes(content[:keep])
        with pytest.raises(RatingsError, match="can't be read"):
            data.load(str(tmp_path / name), names=NAMES)


def test_no_such_source(tmp_path: Path) -> None:
    for source in ("none.csv", "*.parquet", "none"):
        with pytest.raises(RatingsError, match="no such file"):
            data.load(str(tmp_path / source))
    (tmp_path / "a.csv").write_bytes(HEAD)
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(RatingsError, match="one kind at a time"):
        data.load(str(tmp_path))


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda text: not text.endswith("\0")
)


@given(st.lists(st.tuples(texts, texts, st.floats(-1e6, 1e6, width=32)), min_size=2, max_size=30))
def test_any_text_comes_through_unchanged(rows: list[tuple[str, str, float]]) -> None:
    """Through Parquet, which can hold any text; the model's strings are its UTF-8 bytes."""
    users, items, labels = zip(*rows, strict=True)
    table = pa.table({USER: users, ITEM: items, LABEL: pa.array(labels, pa.float32())})
    found = [
        (user, item, label)
        for block in blocks._blocks("made", iter(table.to_batches()), ColumnNames())
        for user, item, label in zip(
            block.users.to_pylist(), block.items.to_pylist(), block.labels.tolist(), strict=True
        )
    ]
    assert found == [(user, item, float(np.float32(label))) for user, item, label in rows]


@given(st.binary(max_size=200))
def test_any_bytes_are_ratings_or_a_clear_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "r.csv"
        path.write_bytes(HEAD + content)
        try:
            table = blocks.open_table(str(path), ColumnNames())
            for block in table.blocks():
                assert len(block.users) == len(block.items) == len(block.labels) > 0
                assert np.isfinite(block.labels).all()
        except RatingsError as error:
            assert "\n" not in str(error)
