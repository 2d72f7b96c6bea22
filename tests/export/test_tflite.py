"""The command line: one whole run, and every way to use it wrongly."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from export import (
    flatbuffer,
    gate,
    metadata,
    quantization,
    reference,
    report,
    rewriting,
    runtime,
    serving,
    tflite,
)
from model import data
from tests.support import NEWEST, RUNTIMES, Array, Exported, WholeRun, python, warm

Run: TypeAlias = Callable[..., tuple[int, str, str]]

EARLIER = b"an earlier model"
OUTPUTS = ["golden.json", "parity.json", "ranker.tflite", "vocabulary.json"]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command here, since another process takes five seconds to import TensorFlow.

    Gives the exit code, standard output and standard error.
    """

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            tflite.app([str(argument) for argument in arguments])
        output, errors = capfd.readouterr()
        return int(ended.value.code or 0), output, errors

    return call


@pytest.fixture
def cut_down(monkeypatch: pytest.MonkeyPatch, exported: Exported) -> None:
    """Proves on forty users, which takes a second a runtime where all take twenty."""
    monkeypatch.setattr(reference, "measure", lambda *arguments: exported.reference)


def assert_one_error(code: int, errors: str, *parts: str) -> None:
    assert code == 2
    lines = [line for line in errors.splitlines() if not line.startswith(STAGES)]
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]


# What a run that is not quiet says of its way.
STAGES = ("loading ", "reading ")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--recipe", "int2"], ["'int2'", *quantization.RECIPES]),
        (["--runtime", "onnx"], ["'onnx'", "litert"]),
        (["--max-bytes", "1000"], ["--recipe auto"]),
    ],
)
def test_wrong_names_end_at_once(run: Run, arguments: list[str], parts: list[str]) -> None:
    code, output, errors = run(*arguments)
    assert_one_error(code, errors, *parts)
    assert output == ""


def test_wrong_names_do_not_wait_for_tensorflow() -> None:
    done = python("-X", "importtime", "-m", "export.tflite", "--recipe", "int2")
    assert done.returncode == 2
    modules = [line.rsplit("|")[-1].strip() for line in done.stderr.splitlines()]
    assert "export.quantization" in modules
    assert not [name for name in modules if name.split(".")[0] in ("tensorflow", "tf_keras")]
    assert [name for name in modules if name.startswith("error: ")]
    assert "Traceback" not in done.stderr


def test_help_names_every_recipe_and_runtime() -> None:
    done = python("-m", "export.tflite", "--help")
    assert done.returncode == 0
    assert all(name in " ".join(done.stdout.split()) for name in quantization.RECIPES)


def test_missing_model_folder(run: Run, tmp_path: Path) -> None:
    code, _, errors = run("--model", tmp_path / "none", "--output-dir", tmp_path / "out")
    assert_one_error(code, errors, str(tmp_path / "none"), "python -m model.train")


def test_damaged_model(run: Run, saved_model: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(saved_model / "saved_model", tmp_path / "damaged"))
    graph = damaged / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:10_000])
    code, _, errors = run("--model", damaged, "--output-dir", tmp_path / "out", "--quiet")
    assert_one_error(code, errors, str(damaged), "can't be loaded")
    assert not list((tmp_path / "out").iterdir())


def test_output_folder_that_cannot_be_made(run: Run, tmp_path: Path) -> None:
    # Under a file, since the superuser may write in any folder.
    (tmp_path / "file").write_text("in the way")
    code, _, errors = run("--output-dir", tmp_path / "file" / "out")
    assert_one_error(code, errors, "can't write in", "--output-dir")


def test_missing_ratings(run: Run, tmp_path: Path) -> None:
    code, _, errors = run("--ratings", tmp_path / "none.zip", "--output-dir", tmp_path / "out")
    assert_one_error(code, errors, str(tmp_path / "none.zip"), "ml-100k.zip")


def test_error_in_a_process_of_its_own(tmp_path: Path) -> None:
    """The exit code as a shell sees it, and nothing of TensorFlow's own on standard error."""
    none = str(tmp_path / "none")
    arguments = ("--quiet", "--model", none, "--output-dir", str(tmp_path / "out"))
    done = python("-m", "export.tflite", *arguments)
    assert_one_error(done.returncode, done.stderr, none)
    assert done.stdout == ""


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """An output folder with an earlier export."""
    folder = tmp_path / "out"
    folder.mkdir()
    for name in OUTPUTS:
        (folder / name).write_bytes(EARLIER)
    return folder


@pytest.fixture
def known_ratings(
    monkeypatch: pytest.MonkeyPatch, ratings: data.Ratings, test_columns: dict[str, Array]
) -> None:
    """The session's ratings and their test columns: to read them again takes ten seconds."""
    monkeypatch.setattr(data, "load", lambda *arguments: ratings)
    monkeypatch.setattr(data, "columns", lambda dataset: test_columns)


def comparable(file: bytes) -> bytes:
    """A file without what it says of its origin."""
    model = flatbuffer.read(file)
    model.metadata = model.description = None
    rewriting.share_buffers(model)
    return flatbuffer.write(model)


@pytest.mark.usefixtures("cut_down", "known_ratings")
def test_broken_limit_publishes_nothing(
    run: Run, saved_model: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = replace(gate.LIMITS["int8"], max_abs=1e-6)
    monkeypatch.setattr(gate, "LIMITS", {**gate.LIMITS, "int8": strict})
    arguments = ("--model", saved_model / "saved_model", "--runtime", NEWEST, "--quiet")
    code, output, errors = run("--recipe", "int8", "--output-dir", earlier, *arguments)
    assert code == 1
    assert output == ""
    assert "not published: litert: largest error, catalogue is 0.00" in errors
    assert all(line.endswith("limit 1e-06") for line in errors.splitlines())
    assert {path.name: path.read_bytes() for path in earlier.iterdir()} == dict.fromkeys(
        OUTPUTS, EARLIER
    )


@pytest.mark.usefixtures("cut_down", "known_ratings")
def test_runtime_failure_publishes_nothing(
    run: Run, saved_model: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "apply", lambda recipe, model: model[: len(model) // 2])
    # The metadata step reads the file too: here it stands for a file that only a runtime reads.
    monkeypatch.setattr(metadata, "add", lambda model, content: model)
    arguments = ("--model", saved_model / "saved_model", "--runtime", NEWEST, "--quiet")
    code, _, errors = run("--recipe", "int8", "--output-dir", earlier, *arguments)
    assert code == 1
    assert errors.startswith("not published: litert can't load the file")
    assert (earlier / "ranker.tflite").read_bytes() == EARLIER


@pytest.mark.usefixtures("cut_down", "known_ratings")
def test_given_model_is_published(
    run: Run, saved_model: Path, exported: Exported, tmp_path: Path
) -> None:
    """Quietly, and with the very bytes that the same model gives when it is trained here."""
    arguments = ("--model", saved_model / "saved_model", "--runtime", NEWEST, "--quiet")
    code, output, errors = run("--output-dir", tmp_path / "out", *arguments)
    assert (code, output, errors) == (0, "", "")
    published = (tmp_path / "out" / "ranker.tflite").read_bytes()
    content = metadata.read(published)
    assert content["training"]["model"] == "saved_model"
    assert content["training"]["epochs"] is None
    assert comparable(published) == comparable(exported.files[quantization.DEFAULT_RECIPE])


@pytest.mark.usefixtures("cut_down", "known_ratings")
def test_all_units_are_kept_where_asked(
    run: Run, saved_model: Path, ranker: serving.Ranker, tmp_path: Path
) -> None:
    arguments = ("--model", saved_model / "saved_model", "--runtime", NEWEST, "--quiet")
    code, *_ = run("--keep-units", "--output-dir", tmp_path / "out", *arguments)
    assert code == 0
    measured = content_of(tmp_path / "out", "parity.json")
    assert [layer["left"] for layer in measured["hidden_layers"]] == [256, 64]
    assert measured["file"]["needed_parameters"] == ranker.parameters
    content = metadata.read((tmp_path / "out" / "ranker.tflite").read_bytes())
    assert content["training"]["units"] == "all"


def content_of(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


def test_whole_run_publishes_everything(
    whole_run: WholeRun,
) -> None:
    folder, done = whole_run
    assert done.returncode == 0, done.stderr
    assert {path.name for path in folder.iterdir()} >= set(OUTPUTS)
    assert not [path for path in folder.iterdir() if not path.exists()]
    assert len([path for path in folder.iterdir() if path.name.startswith(".")]) == 2
    assert "published" in done.stdout
    digest = hashlib.sha256((folder / "ranker.tflite").read_bytes()).hexdigest()
    assert content_of(folder, "parity.json")["file"]["sha256"] == digest
    assert content_of(folder, "golden.json")["model_sha256"] == digest


def test_whole_run_gives_the_same_file_as_this_process(
    whole_run: WholeRun, exported: Exported
) -> None:
    """Trained twice in two processes with one seed: the same bytes."""
    folder, _ = whole_run
    published = (folder / "ranker.tflite").read_bytes()
    expected = exported.files[quantization.DEFAULT_RECIPE]
    assert comparable(published) == comparable(expected)


def test_metadata_of_the_published_file(whole_run: WholeRun, ratings: data.Ratings) -> None:
    published = (whole_run[0] / "ranker.tflite").read_bytes()
    content = metadata.read(published)
    assert content["recipe"] == quantization.DEFAULT_RECIPE
    assert content["training"]["ratings_checksum"] == ratings.checksum
    assert content["training"]["seed"] == 42
    assert set(content["signatures"]) == {"score", "rank", "recommend"}
    assert content["vocabulary_sizes"] == {"user_id": 943, "movie_title": 1664}
    assert 1.09 <= content["metrics"]["test_rmse"] <= 1.12
    entries = {
        flatbuffer.text(entry.name): entry.buffer for entry in flatbuffer.read(published).metadata
    }
    buffer = flatbuffer.read(published).buffers[entries[metadata.STANDARD_ENTRY]]
    assert bytes(buffer.data)[4:8] == b"M001"


def test_parity_of_the_published_file(
    whole_run: WholeRun,
) -> None:
    measured = content_of(whole_run[0], "parity.json")
    (one,) = measured["runtimes"]
    assert one["runtime"] == NEWEST
    assert one["test"]["pairs"] == 20_000
    assert one["catalogue_agreement"]["users"] > 900
    assert one["catalogue"]["pairs"] == one["catalogue_agreement"]["users"] * 1664
    assert one["catalogue"]["max_abs"] <= measured["limits"]["max_abs"]
    assert measured["file"]["custom_ops"] == []
    layers = measured["hidden_layers"]
    assert [layer["units"] for layer in layers] == [256, 64]
    assert all(0 < layer["left"] < layer["units"] for layer in layers)
    assert measured["limits"]["reason"] == gate.LIMITS[measured["recipe"]].reason


@pytest.mark.parametrize("runtime_name", RUNTIMES)
def test_golden_cases_hold_on_every_runtime(whole_run: WholeRun, runtime_name: str) -> None:
    folder, _ = whole_run
    golden, measured = content_of(folder, "golden.json"), content_of(folder, "parity.json")
    tolerance = measured["golden_tolerance"]["score"]
    cases = golden["score"]
    with warm(runtime_name).open(folder / "ranker.tflite") as session:
        scores = session.run(
            "score",
            user_id=[case["user_id"] for case in cases],
            movie_title=[case["movie_title"] for case in cases],
        )["score"]
        for case in golden["rank"]:
            titles = case["movie_title"]
            answer = session.run("rank", user_id=[case["user_id"]], movie_title=titles)
            np.testing.assert_allclose(answer["score"], case["tflite_score"], atol=tolerance)
        for case in golden["recommend"]:
            count = np.array([case["k"]], np.int32)
            best = session.run("recommend", user_id=[case["user_id"]], k=count, seen=case["seen"])
            np.testing.assert_allclose(best["score"], case["score"], atol=tolerance)
            assert not set(case["seen"]) & {title.decode() for title in best["movie_title"]}
    np.testing.assert_allclose(scores, [case["tflite"] for case in cases], atol=tolerance)
    keras = np.array([case["keras"] for case in cases])
    assert np.abs(scores - keras).max() <= measured["limits"]["max_abs"]


def test_golden_cases_have_odd_ids(
    whole_run: WholeRun,
) -> None:
    cases = content_of(whole_run[0], "golden.json")["score"]
    assert len(cases) >= 200
    users = [case["user_id"] for case in cases]
    titles = [case["movie_title"] for case in cases]
    for ids in (users, titles):
        assert "no such id" in ids and "" in ids
        assert any("🎬" in one for one in ids)
        assert any("é" in one for one in ids)
        assert any(one.endswith("\0") for one in ids)
    for case in cases:
        assert bytes.fromhex(case["user_id_hex"]).decode() == case["user_id"]
        assert bytes.fromhex(case["movie_title_hex"]).decode() == case["movie_title"]


def test_vocabulary_of_the_published_file(whole_run: WholeRun, exported: Exported) -> None:
    vocabulary = content_of(whole_run[0], "vocabulary.json")
    assert tuple(vocabulary["user_id"]) == exported.ranker.users.vocabulary
    assert tuple(vocabulary["movie_title"]) == exported.ranker.candidates.vocabulary


def test_dump_keeps_text_readable() -> None:
    assert "Amélie 🎬" in report.dump({"title": "Amélie 🎬"}).decode()


def test_runtimes_default_to_all_installed() -> None:
    assert [one.name for one in runtime.installed()] == list(RUNTIMES)


def test_own_ratings_are_exported_and_proven(own_run: WholeRun) -> None:
    folder, done = own_run
    assert done.returncode == 0, done.stderr
    measured = json.loads((folder / "parity.json").read_text())
    # Labels spread over 50 where MovieLens's spread over 1.1: limits are in their unit.
    assert measured["limits"]["max_abs"] > 20 * gate.LIMITS["int8"].max_abs
    assert measured["origin"]["oov"] == "mean"
    assert {one["policy"] for one in measured["cold_start"]} == {"trained", "mean", "popularity"}
    assert "MovieLens" not in (folder / "report.html").read_text()
    assert "New users and titles" in (folder / "report.html").read_text()
    card = (folder / "model_card.md").read_text()
    assert "MovieLens" not in card.replace("MovieLens's", "")
    assert "| popularity | new titles |" in card


def test_cut_ids_are_in_no_file_that_an_app_takes(own_run: WholeRun) -> None:
    folder, _ = own_run
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    assert vocabulary["user_id"] == ["listener-07"]
    assert len(vocabulary["movie_title"]) == 50
    gone = [f"listener-{number:02}" for number in range(40) if number != 7]
    gone += sorted({f"track № {n:02}" for n in range(60)} - set(vocabulary["movie_title"]))
    assert len(gone) == 49
    for name in ("ranker.tflite", "vocabulary.json", "golden.json"):
        content = (folder / name).read_bytes()
        assert not [one for one in gone if one.encode() in content], name
    assert b"listener-07" in (folder / "ranker.tflite").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--preset", "best"], ["'best'", "tutorial, accurate"]),
        (["--oov", "zero"], ["'zero'", "trained, mean, popularity"]),
        (["--users", "top:0"], ["--users top:0", "at least 1"]),
        (["--items", "none"], ["--items none"]),
    ],
)
def test_wrong_choices_are_told_before_training(
    run: Run, arguments: list[str], parts: list[str]
) -> None:
    code, output, errors = run(*arguments)
    assert_one_error(code, errors, *parts)
    assert output == ""
