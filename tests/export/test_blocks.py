"""Blocks: every row is kept or rejected, with the reason."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import blocks
from export.blocks import Columns

COLUMNS = Columns("user_id", "movie_title", "score")
LONE_SURROGATE = "\ud800".encode("utf-8", "surrogatepass")


def table(users: list[bytes | None], titles: list[bytes | None]) -> pa.Table:
    """As Parquet gives it: what calls itself a string may be any bytes."""
    columns = {
        "user_id": pa.array(users, pa.binary()).view(pa.string()),
        "movie_title": pa.array(titles, pa.binary()).view(pa.string()),
    }
    return pa.table({**columns, "row": pa.array(range(len(users)), pa.int64())})


def ids_of(kept: pa.Table, name: str) -> list[bytes]:
    return list(blocks.ids(kept[name]).values())


@given(
    st.lists(
        st.tuples(
            st.none() | st.binary(max_size=5) | st.text(max_size=5).map(str.encode),
            st.none() | st.binary(max_size=5) | st.just(LONE_SURROGATE),
        )
    ),
    st.integers(1, 7),
)
def test_every_row_is_kept_or_rejected(
    pairs: list[tuple[bytes | None, bytes | None]], size: int
) -> None:
    def valid(value: bytes | None) -> bool:
        return value is not None and value.decode(errors="ignore").encode() == value

    whole = table([user for user, _ in pairs], [title for _, title in pairs])
    kept_rows, rejected_rows = [], []
    for block in blocks.cut(whole, size):
        assert 1 <= block.num_rows <= size
        kept, rejected = blocks.sift(block, COLUMNS)
        kept_rows += kept["row"].to_pylist()
        rejected_rows += [row for one in rejected for row in one.rows["row"].to_pylist()]
        assert ids_of(kept, "user_id") == [pairs[row][0] for row in kept["row"].to_pylist()]
    assert kept_rows == [row for row, pair in enumerate(pairs) if all(map(valid, pair))]
    assert sorted(kept_rows + rejected_rows) == list(range(len(pairs)))


@pytest.mark.parametrize(
    ("user", "title", "fault", "reason"),
    [
        (None, b"a", blocks.NULL, "user_id is null"),
        (b"1", None, blocks.NULL, "movie_title is null"),
        (b"1", b"\xff", blocks.NOT_UTF8, "movie_title is not UTF-8"),
        (LONE_SURROGATE, b"a", blocks.NOT_UTF8, "user_id is not UTF-8"),
        (b"1", b"x" * 65_537, blocks.TOO_LONG, "movie_title is longer than 65,536 bytes"),
        (None, b"\xff", blocks.NULL, "user_id is null"),
    ],
)
def test_reason(user: bytes | None, title: bytes | None, fault: str, reason: str) -> None:
    kept, (rejected,) = blocks.sift(table([b"1", user], [b"x" * 65_536, title]), COLUMNS)
    assert kept["row"].to_pylist() == [0]
    assert rejected.fault == fault
    assert rejected.rows[blocks.REASON].to_pylist() == [reason]
    assert rejected.rows.schema == blocks.rejected_schema(kept.schema)
    # The bytes stay as they were, to be mended.
    assert rejected.rows["movie_title"].cast(pa.binary()).to_pylist() == [title]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["7", "8", "7"]),
        pa.array(["7", "8", "7"], pa.large_string()),
        pa.array([b"7", b"8", b"7"]),
        pa.array(["7", "8", "7"]).dictionary_encode(),
        pa.array([7, 8, 7], pa.int32()),
        pa.array([7, 8, 7], pa.uint64()),
    ],
    ids=lambda column: str(column.type),
)
def test_ids_of_any_type(column: pa.Array) -> None:
    # In two chunks, each with a dictionary of its own, as row groups have.
    chunked = pa.chunked_array([column, column.slice(1)])
    found = blocks.ids(chunked)
    assert found.values().tolist() == [b"7", b"8", b"7", b"8", b"7"]
    assert sorted(found.unique) == [b"7", b"8"]
    assert found.unknown(frozenset({b"7"})) == 2


def test_scores_that_are_no_numbers() -> None:
    scores = pa.array([1.0, np.nan, np.inf], pa.float32())
    scored = table([b"1"] * 3, [b"a"] * 3).append_column("score", scores)
    kept, (rejected,) = blocks.sift_scores(scored, COLUMNS)
    assert kept["row"].to_pylist() == [0]
    assert rejected.rows["row"].to_pylist() == [1, 2]
    assert rejected.rows[blocks.REASON].to_pylist() == ["score is not finite"] * 2
    assert blocks.sift_scores(kept, COLUMNS) == (kept, [])


def test_dead_letters_can_be_rejected_again() -> None:
    _, (once,) = blocks.sift(table([None], [b"a"]), COLUMNS)
    _, (twice,) = blocks.sift(once.rows, COLUMNS)
    assert twice.rows == once.rows


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"user": pa.string(), "movie_title": pa.string()}, "no column 'user_id'.*user,"),
        ({"user_id": pa.float64(), "movie_title": pa.string()}, "'user_id' is double"),
        ({"user_id": pa.string(), "movie_title": pa.list_(pa.string())}, "'movie_title' is list"),
        (
            {"user_id": pa.string(), "movie_title": pa.string(), "score": pa.int8()},
            "--score-column",
        ),
    ],
)
def test_wrong_columns(schema: dict[str, pa.DataType], message: str) -> None:
    with pytest.raises(blocks.ColumnError, match=message):
        blocks.check_schema(pa.schema(schema.items()), COLUMNS)
