import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from export import bundle

RUNNER = CliRunner()
MODEL = b"\x00\x00\x00\x00TFL3 not really, but bytes all the same"


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    digest = hashlib.sha256(MODEL).hexdigest()
    (folder / "ranker.tflite").write_bytes(MODEL)
    (folder / "vocabulary.json").write_text(
        json.dumps({"user_id": ["1"], "movie_title": ["Café (1999)"]})
    )
    (folder / "golden.json").write_text(json.dumps({"model_sha256": digest}))
    (folder / "parity.json").write_text(json.dumps({"file": {"sha256": digest}, "recipe": "int8"}))
    return folder


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "settings.gradle.kts").touch()
    return folder


def run(artifacts: Path, sample: Path, *options: str) -> Any:
    return RUNNER.invoke(
        bundle.app, ["--artifacts", str(artifacts), "--app", str(sample), *options]
    )


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def everything_in(sample: Path) -> set[str]:
    return {str(path.relative_to(sample)) for path in sample.rglob("*") if path.is_file()}


def test_files_go_where_the_app_looks_for_them(artifacts: Path, sample: Path) -> None:
    result = run(artifacts, sample)

    assert result.exit_code == 0, result.output
    assert f"{len(MODEL):,} bytes" in result.stdout
    assert everything_in(sample) == {
        "settings.gradle.kts",
        "app/src/main/assets/ranker.tflite",
        "app/src/main/assets/vocabulary.json",
        "app/src/main/assets/SHA256SUMS",
        "app/src/androidTest/resources/golden.json",
        "app/src/androidTest/resources/parity.json",
    }
    assert (sample / "app/src/main/assets/ranker.tflite").read_bytes() == MODEL


def test_the_checksums_are_what_sha256sum_reads(artifacts: Path, sample: Path) -> None:
    run(artifacts, sample, "--quiet")
    assets = sample / "app/src/main/assets"
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]

    assert subprocess.run(check, cwd=assets, check=False).returncode == 0

    (assets / "ranker.tflite").write_bytes(MODEL[:-1])
    assert subprocess.run(check, cwd=assets, check=False).returncode != 0


def test_a_second_bundle_replaces_the_first(artifacts: Path, sample: Path) -> None:
    run(artifacts, sample)
    before = everything_in(sample)
    (artifacts / "vocabulary.json").write_text('{"user_id": ["7"], "movie_title": ["x"]}')

    assert run(artifacts, sample).exit_code == 0
    assert everything_in(sample) == before
    assert b'"7"' in (sample / "app/src/main/assets/vocabulary.json").read_bytes()


@pytest.mark.parametrize("name", ["golden.json", "parity.json"])
def test_files_of_two_exports_are_refused(artifacts: Path, sample: Path, name: str) -> None:
    change(artifacts / name, model_sha256="0" * 64, file={"sha256": "0" * 64})

    result = run(artifacts, sample)

    assert result.exit_code == 2
    assert f"{name} is of another ranker.tflite" in result.stderr
    assert everything_in(sample) == {"settings.gradle.kts"}


@pytest.mark.parametrize("name", ["ranker.tflite", "vocabulary.json", "golden.json", "parity.json"])
def test_a_missing_file_is_named_in_one_line(artifacts: Path, sample: Path, name: str) -> None:
    (artifacts / name).unlink()

    result = run(artifacts, sample)

    assert result.exit_code == 2
    assert name in result.stderr and "export.tflite" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert everything_in(sample) == {"settings.gradle.kts"}


@pytest.mark.parametrize("name", ["vocabulary.json", "golden.json", "parity.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"file": 1}', "\x00"])
def test_a_damaged_file_is_named_in_one_line(
    artifacts: Path, sample: Path, name: str, content: str
) -> None:
    (artifacts / name).write_text(content)

    result = run(artifacts, sample)

    assert result.exit_code == 2
    assert name in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_empty_vocabulary_is_refused(artifacts: Path, sample: Path) -> None:
    change(artifacts / "vocabulary.json", movie_title=[])

    result = run(artifacts, sample)

    assert result.exit_code == 2
    assert "movie_title" in result.stderr


def test_a_folder_that_is_no_android_project_is_refused(artifacts: Path, tmp_path: Path) -> None:
    result = run(artifacts, tmp_path / "elsewhere")

    assert result.exit_code == 2
    assert "--app" in result.stderr
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_cannot_be_written_is_one_line(artifacts: Path, sample: Path) -> None:
    (sample / "app").write_text("a file where a folder must be")

    result = run(artifacts, sample)

    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1


def test_help_shows_examples() -> None:
    result = RUNNER.invoke(bundle.app, ["--help"])

    assert result.exit_code == 0
    assert "python -m export.bundle --artifacts" in result.stdout


def test_the_default_app_folder_is_the_sample() -> None:
    root = Path(bundle.__file__).parent.parent

    assert (root / "android_sample" / "settings.gradle.kts").is_file()
