"""The pipeline's parts: the scorer that outlives its child, and the sums of differences."""

import math
import os
import signal
from dataclasses import astuple
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export import beam, blocks, flatbuffer, runtime, serving
from export.beam import Differences
from tests.support import NEWEST, Exported, python

COLUMNS = blocks.Columns("user_id", "movie_title", "score")


def test_names_are_those_of_the_signatures() -> None:
    assert (beam.USER, beam.CANDIDATE, beam.SCORE) == (
        serving.USER,
        serving.CANDIDATE,
        serving.SCORE,
    )


def test_workers_do_without_tensorflow() -> None:
    done = python("-c", "import sys, export.beam, export.bulk; print('tensorflow' in sys.modules)")
    assert done.stdout.split()[-1] == "False", done.stderr


@pytest.fixture(scope="module")
def scorer(exported: Exported) -> beam.Scorer:
    return beam.Scorer(exported.files["int8"], NEWEST)


def test_scorer_starts_a_new_child_where_one_dies(scorer: beam.Scorer, exported: Exported) -> None:
    pairs = exported.reference.test
    users, titles = pairs.users[:100], pairs.candidates[:100]
    before = scorer.score(users, titles)
    session = scorer._session
    assert session is not None
    os.kill(session._process.pid, signal.SIGKILL)
    assert np.array_equal(scorer.score(users, titles), before)
    assert scorer._session is not session


def test_scorer_lives_after_a_failure(exported: Exported, scorer: beam.Scorer) -> None:
    with pytest.raises(runtime.RuntimeFailure, match="score failed"):
        # Numbers are no ids.
        scorer.score(np.arange(3), np.arange(3))  # type: ignore[arg-type]
    ids = exported.reference.test.users[:3]
    assert scorer.score(ids, ids).shape == (3,)


def test_child_ends_with_its_scorer(exported: Exported) -> None:
    scorer = beam.Scorer(exported.files["int8"], NEWEST)
    session = scorer._session
    assert session is not None and session._process.poll() is None
    del scorer
    assert session._process.poll() == 0


def test_vocabularies_are_read_from_the_file(exported: Exported, scorer: beam.Scorer) -> None:
    ranker = exported.ranker
    assert scorer.users == {text.encode() for text in ranker.users.vocabulary}
    assert scorer.candidates == {text.encode() for text in ranker.candidates.vocabulary}
    model = flatbuffer.read(exported.files["int8"])
    assert flatbuffer.vocabulary(model, "recommend", "k") == ()
    assert flatbuffer.vocabulary(model, "none", "user_id") == ()


floats = st.floats(0, 10)
amounts = st.builds(Differences, st.integers(0, 9), floats, floats, st.integers(0, 9))


@given(st.lists(amounts), st.integers(1, 4))
def test_sums_in_parts_are_the_whole(all_of_them: list[Differences], parts: int) -> None:
    total = beam.SumOfDifferences()

    def fold(some: list[Differences]) -> Differences:
        return reduce(total.add_input, some, total.create_accumulator())

    merged = total.merge_accumulators(fold(all_of_them[i::parts]) for i in range(parts))
    # float64 sums of a few numbers below 10, in another order.
    assert astuple(total.extract_output(merged)) == pytest.approx(
        astuple(fold(all_of_them)), abs=1e-9
    )


@pytest.mark.parametrize("order", [1, -1])
def test_not_a_number_is_not_lost_in_a_sum(order: int) -> None:
    total = sum([Differences(1, math.nan), Differences(1, 1.0)][::order], Differences())
    assert math.isnan(total.max_abs)


def test_differences_by_hand() -> None:
    block = pa.table(
        {
            "score": pa.array([3.0, 4.0, 5.0], pa.float32()),
            "keras_score": pa.array([3.0, 4.5, 4.75], pa.float32()),
            "rating": pa.array([4, None, 5], pa.int64()),
        }
    )
    assert beam.differences(block, COLUMNS, None) == Differences(3, 0.5, 0.75)
    assert beam.differences(block, COLUMNS, "rating") == Differences(3, 0.5, 0.75, 2, 1.0, 1.0625)


def test_missing_file_says_so(tmp_path: Path) -> None:
    handler = beam.TFLiteHandler(str(tmp_path / "none.tflite"), NEWEST, COLUMNS)
    with pytest.raises(OSError, match=r"none\.tflite"):
        handler.load_model()
