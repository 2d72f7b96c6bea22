"""Bulk jobs from the command line, on real files, runtimes and Beam's own runner."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from export import batch, beam, blocks, bulk, flatbuffer, gate
from model import ranking
from tests.support import Exported

Run: TypeAlias = Callable[..., tuple[int, str]]

ROWS = 2000
BAD = 3


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command here; gives the exit code, and standard error."""

    def call(*arguments: str | Path) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            batch.app([str(argument) for argument in arguments])
        return int(ended.value.code or 0), capfd.readouterr().err

    return call


@pytest.fixture(scope="module")
def model(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "ranker.tflite"
    path.write_bytes(exported.files["int8"])
    return path


@pytest.fixture(scope="module")
def folder(exported: Exported, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of the test ratings' pairs; the second has bad and unknown ids at its end."""
    pairs = exported.reference.test
    users = [user.decode() for user in pairs.users[:ROWS]]
    titles = [title.decode() for title in pairs.candidates[:ROWS]]
    users[-5:] = ["1", "nobody", None, "1", "1"]
    titles[-5:] = ["no such film", titles[0], titles[0], None, "bad"]
    table = pa.table(
        {
            "row": pa.array(range(ROWS), pa.int32()),
            "user_id": pa.array(users, pa.string()),
            "movie_title": pa.array(
                [None if t is None else b"\xff" if t == "bad" else t.encode() for t in titles],
                pa.binary(),
            ),
            "user_rating": pa.array(exported.reference.ratings[:ROWS]),
        }
    )
    folder = tmp_path_factory.mktemp("pairs")
    pq.write_table(table.slice(0, 1200), folder / "pairs-0.parquet", row_group_size=500)
    pq.write_table(table.slice(1200), folder / "pairs-1.parquet", row_group_size=500)
    return folder


def options(folder: Path, model: Path, output: Path) -> list[str | Path]:
    return ["--input", folder / "pairs-*.parquet", "--model", model, "--output", output]


def rows_of(output: Path, name: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(f) for f in sorted(output.glob(f"{name}-*")))


def summary_of(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / bulk.SUMMARY_FILE).read_text())
    return content


def test_scores_are_the_models_and_nothing_is_lost(
    run: Run, folder: Path, model: Path, exported: Exported, tmp_path: Path
) -> None:
    code, errors = run(*options(folder, model, tmp_path), "--block-rows", "300", "--quiet")
    assert (code, errors) == (0, "")
    scored = rows_of(tmp_path, beam.SCORES_FILES).sort_by("row")
    assert scored["row"].to_pylist() == list(range(ROWS - BAD))
    known = ROWS - 5
    # The limit of int8 itself: the file's scores, not another's.
    worst = gate.LIMITS["int8"].max_abs
    np.testing.assert_allclose(
        scored["score"].to_numpy()[:known], exported.reference.test.scores[:known], atol=worst
    )
    assert scored["user_rating"].to_pylist() == list(exported.reference.ratings[: ROWS - BAD])
    dead = rows_of(tmp_path, beam.DEAD_LETTER_FILES).sort_by("row")
    assert dead["row"].to_pylist() == [ROWS - 3, ROWS - 2, ROWS - 1]
    assert dead[blocks.REASON].to_pylist() == [
        "user_id is null",
        "movie_title is null",
        "movie_title is not UTF-8",
    ]
    summary = summary_of(tmp_path)
    assert summary["rows"] == summary["input_rows"] == ROWS
    assert summary["scored"] == summary["written"] == ROWS - BAD
    assert summary["dead_letters"] == {"not_utf8": 1, "null": 2}
    assert (summary["unknown_users"], summary["unknown_candidates"]) == (1, 1)
    assert summary["problems"] == []
    # A second job into the same folder would mix its shards with these.
    code, errors = run(*options(folder, model, tmp_path), "--quiet")
    assert code == 2 and "earlier job's scores" in errors


def test_two_processes_give_the_same_scores(
    run: Run, folder: Path, model: Path, tmp_path: Path
) -> None:
    scores = []
    for workers in ("1", "2"):
        output = tmp_path / workers
        assert run(*options(folder, model, output), "--workers", workers, "--quiet")[0] == 0
        scores.append(rows_of(output, beam.SCORES_FILES).sort_by("row"))
    assert scores[0] == scores[1]


def test_parity_and_its_breach(
    run: Run,
    folder: Path,
    model: Path,
    keras_model: ranking.MovielensModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keras_model.save(str(tmp_path / "keras"))
    parity = ["--parity", tmp_path / "keras", "--label-column", "user_rating", "--quiet"]
    code, errors = run(*options(folder, model, tmp_path / "none"), *parity)
    assert code == 2 and "--recipe" in errors
    recipe = ["--recipe", "int8"]
    code, errors = run(*options(folder, model, tmp_path / "good"), *parity, *recipe)
    assert (code, errors) == (0, "")
    measured = summary_of(tmp_path / "good")["parity"]
    assert measured["rows"] == measured["labels"] == ROWS - BAD
    # int8 rounds: no error at all would mean that Keras was compared with itself.
    assert 1e-5 < measured["max_abs"] <= gate.LIMITS["int8"].max_abs
    # float32's limits, which int8 can't keep.
    recipe = ["--recipe", "float32"]
    code, errors = run(*options(folder, model, tmp_path / "bad"), *parity, *recipe)
    assert code == 1 and "largest error" in errors and "mean error" in errors
    assert len(summary_of(tmp_path / "bad")["problems"]) >= 2


def test_block_that_the_runtime_refuses_is_dead_letters(
    folder: Path, exported: Exported, tmp_path: Path
) -> None:
    """Without the input that the pipeline gives it, the file loads but never runs."""
    parsed = flatbuffer.read(exported.files["int8"])
    for definition in parsed.signatureDefs:
        for entry in definition.inputs:
            if flatbuffer.text(entry.name) == "movie_title":
                entry.name = "film"
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(flatbuffer.write(parsed))
    pattern = str(folder / "pairs-0.parquet")
    inputs = bulk.inspect(pattern)
    columns = blocks.Columns("user_id", "movie_title", "score")
    output = str(tmp_path / "out")
    job = beam.Job(pattern, output, str(broken), "litert", columns)
    summary = bulk.run(job, inputs, ["--runner=DirectRunner"])
    assert summary.dead_letters == {blocks.RUNTIME: inputs.rows}
    assert (summary.scored, summary.losses()) == (0, [])
    reasons = rows_of(tmp_path / "out", beam.DEAD_LETTER_FILES)[blocks.REASON].to_pylist()
    assert len(reasons) == inputs.rows and "score failed" in reasons[0]


def test_losses_are_told() -> None:
    fine = bulk.Summary(10, 10, 8, 8, {"null": 2}, 2, 0, 0, beam.Differences(8))
    assert fine.losses() == []
    broken = bulk.Summary(11, 10, 8, 7, {"null": 1}, 2, 0, 0, beam.Differences(6))
    assert broken.losses() == [
        "10 rows read, but 11 rows in the input",
        "9 rows scored and dead letters, but 10 rows read",
        "7 rows in the score files, but 8 rows scored",
        "2 rows in the dead-letter files, but 1 dead letters",
        "6 rows compared with Keras, but 8 rows scored",
    ]


@pytest.mark.parametrize("labels", [0, 4])
def test_breaches_of_each_limit(labels: int) -> None:
    limits = gate.LIMITS["int8"]
    good = beam.Differences(4, limits.max_abs, 4 * limits.mean_abs, labels, 4.0, 4.0)
    assert not list(bulk.breaches(good, limits))
    nan = float("nan")
    bad = beam.Differences(4, nan, 5 * limits.mean_abs, labels, 4.0, 5.0)
    figures = [breach.figure for breach in bulk.breaches(bad, limits)]
    assert figures == ["largest error", "mean error", "RMSE delta"][: 3 if labels else 2]
    assert [breach.figure for breach in bulk.breaches(beam.Differences(), limits)] == [
        "rows compared"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "none-*.parquet"], "no file matches"),
        (["--model", "none.tflite"], "none.tflite"),
        (["--runtime", "onnx"], "unknown runtime 'onnx'"),
        (["--user-column", "who"], "no column 'who'"),
        (["--score-column", "row"], "--score-column"),
        (["--runner", "FlinkRunner", "--workers", "2"], "own flags after --"),
        (["--label-column", "user_rating"], "go with --parity"),
        (["--parity", "none"], "none is not a SavedModel"),
    ],
)
def test_wrong_use_is_one_line(
    run: Run, folder: Path, model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, errors = run(*options(folder, model, tmp_path / "out"), *arguments, "--quiet")
    assert code == 2
    assert errors.startswith("error: ") and message in errors
    assert len(errors.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_files_that_are_not_alike_or_not_parquet(
    run: Run, folder: Path, model: Path, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"user_id": ["1"]}), tmp_path / "pairs-2.parquet")
    (tmp_path / "pairs-0.parquet").write_bytes((folder / "pairs-0.parquet").read_bytes())
    code, errors = run(*options(tmp_path, model, tmp_path / "out"), "--quiet")
    assert code == 2 and "pairs-2.parquet has other columns" in errors
    (tmp_path / "pairs-2.parquet").write_bytes(b"PAR1 and no more")
    code, errors = run(*options(tmp_path, model, tmp_path / "out"), "--quiet")
    assert code == 2 and "pairs-2.parquet can't be read as Parquet" in errors
