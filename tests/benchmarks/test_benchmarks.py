"""The benchmarks' arithmetic; their numbers are for `python -m benchmarks.latency` to measure."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import goals, made, profile, streaming, tables, timing, yardsticks
from export import flatbuffer, runtime
from tests import support
from tests.support import Exported

SOME_OPS = [("A", 50.0, 50.0), ("B", 50.25, 0.25), ("C", 50.5, 0.25), ("D", 100.0, 49.5)]
SOME_OPS += [("E", 100.1, 0.1)]


def times(*rounds: float) -> timing.Times:
    return timing.summary(np.array([one]) for one in rounds)


def test_ratios_pair_turns() -> None:
    # The second turn met a busy neighbour, who slowed both.
    assert timing.ratio(times(1, 10, 1), times(2, 20, 2)).median == 0.5


@pytest.mark.parametrize(("value", "least", "met"), [(1, False, True), (2, False, False)])
def test_goals(value: float, least: bool, met: bool) -> None:
    assert goals.Goal("what", "where", value, 1, least, "").met == met
    assert not goals.Goal("what", "where", float("nan"), 1, least, "").met


def test_limit_by_hand() -> None:
    work = goals.Work(macs=2 * 1024**3, moved=yardsticks.COPY_BYTES)
    # Twice the product that took 10 ms, and half the bytes that took 6 ms to read and write.
    assert goals.milliseconds_needed(work, times(10), times(6)) == pytest.approx(23)


def test_made_titles_differ() -> None:
    titles = made.titles(20_000)
    assert len(set(titles)) == len(titles)


def test_machine_is_timed() -> None:
    with yardsticks.MACHINE.open(b"") as session:
        assert (session.times(yardsticks.SGEMM, 2, shape=np.array([8, 8, 8])) > 0).all()


def test_graph_is_cut_short(exported: Exported) -> None:
    whole = exported.files["int8"]
    shorter = next(filter(None, (profile.cut(whole, "rank", ops) for ops in range(1, 9))))
    assert shorter[1] == "HASHTABLE_FIND"
    with runtime.named(support.NEWEST).open(shorter[0]) as session:
        assert list(session.signatures) == ["rank"]
    assert len(flatbuffer.read(shorter[0]).signatureDefs) == 1


def test_made_ratings_are_read_whole(tmp_path: Path) -> None:
    streaming.write_ratings(tmp_path / "ratings.parquet", 50)
    measured = streaming.measure(tmp_path / "ratings.parquet")
    assert measured.rows == 50
    assert measured.counted > 0 and measured.read > 0
    assert measured.peak_mib >= measured.start_mib > 0


def test_small_neighbours_stand_together() -> None:
    ops = [profile.OpTime(op, upto, alone) for op, upto, alone in SOME_OPS]
    assert list(tables._merged(ops)) == [
        ("`A`", 50.0, 50.0),
        ("2 others", 50.5, 0.5),
        ("`D`", 100.0, 49.5),
        ("`E`", 100.1, 0.1),
    ]
