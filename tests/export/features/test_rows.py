from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from examples import dcn_ranker
from export.features import rows
from tests.export.features.conftest import Case


def feature(case: Case, name: str) -> rows.Known:
    (found,) = (one for one in case.model.features if one.name == name)
    return rows.known(case.model, found)


def test_made_rows_have_every_known_id(dcn: Case, known: dcn_ranker.Columns) -> None:
    values = dcn.expected.rows.values
    for name in (*dcn_ranker.STRINGS, *dcn_ranker.INTEGERS):
        assert set(np.unique(known[name].astype(object))) <= set(values[name].tolist())


def test_made_numbers_stay_within_what_they_index(dcn: Case) -> None:
    genres = dcn.expected.rows.values["movie_genres"]
    assert np.array_equal(np.unique(genres), np.arange(dcn_ranker.GENRE_TOKENS))
    assert feature(dcn, "movie_genres").rows == dcn_ranker.GENRE_TOKENS


def test_made_floats_have_zero_and_negative_ones(dcn: Case) -> None:
    ages = dcn.expected.rows.values["raw_user_age"]
    assert 0 in ages
    assert ages.min() < 0


def test_odd_rows_hold_unknown_ids_of_every_kind(dcn: Case) -> None:
    named = dict(enumerate(dcn.expected.rows.odd_names))
    odd = dcn.expected.rows.odd
    by_name = {name: {key: odd[key][row] for key in odd} for row, name in named.items()}
    assert by_name["empty user_id"]["user_id"] == b""
    assert by_name["emoji, every string"]["user_zip_code"] == "🎬🍿👩‍👩‍👧".encode()
    assert by_name["bucketized_user_age -1"]["bucketized_user_age"] == -1
    assert by_name["user_id, NUL appended"]["user_id"].endswith(b"\0")


def test_lists_are_filled(listwise: Case) -> None:
    values = listwise.expected.rows.values["movie_title"]
    assert values.shape[1] == rows.LIST_LENGTH
    assert set(feature(listwise, "movie_title").ids) == set(values.ravel().tolist())


def test_parquet(dcn: Case, known: dcn_ranker.Columns, tmp_path: Path) -> None:
    dcn_ranker.save_rows(known, tmp_path / "rows.parquet", 20)
    taken = rows.read(dcn.model, tmp_path / "rows.parquet", "user_id")
    assert taken.size == 20
    assert "user_rating" not in taken.values
    np.testing.assert_array_equal(taken.values["movie_genres"], known["movie_genres"][-20:])
    np.testing.assert_array_equal(taken.values["user_id"], known["user_id"][-20:])
    assert taken.groups is not None
    assert taken.groups.tolist() == known["user_id"][-20:].tolist()


def test_csv_keeps_ids_that_look_like_numbers(listwise: Case, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("user_id,movie_title\n007,x\n")
    with pytest.raises(rows.FeaturesError, match=r"column movie_title: .* \(1,\)"):
        rows.read(listwise.model, path)
    taken = rows._column(
        path,
        pyarrow.csv.read_csv(path, convert_options=rows._csv_options(listwise.model)),
        listwise.model.features[1],
    )
    assert taken.tolist() == [b"007"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": ["1"]}, "lacks the columns movie_title"),
        ({"user_id": ["1"], "movie_title": ["x"]}, "column movie_title: values of shape"),
        ({"user_id": [None], "movie_title": [["x"]]}, "column user_id: a value is missing"),
        ({"user_id": ["1", "2"], "movie_title": [["x"], ["y", "z"]]}, "column movie_title"),
        ({"user_id": [], "movie_title": []}, "has no rows"),
    ],
)
def test_files_that_do_not_fit(
    listwise: Case, tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pa.table(columns), path)
    with pytest.raises(rows.FeaturesError, match=message):
        rows.read(listwise.model, path)


def test_no_file(listwise: Case, tmp_path: Path) -> None:
    with pytest.raises(rows.FeaturesError, match=r"none\.parquet is no readable"):
        rows.read(listwise.model, tmp_path / "none.parquet")
