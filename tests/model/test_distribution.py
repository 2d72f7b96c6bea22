"""Strategies: the metrics of one worker, from two replicas and from two processes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from model import data, distribution, environment, train
from tests.support import python

ROWS = 12_000
EPOCHS = 2
# The same gradients are summed in another order: a few float32 steps of 1.2e-7 for each of the
# four steps of training. Two trainings with other seeds differ by 6e-3.
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made ratings: 9,600 to train on, so that an epoch has a batch of 8,192 and a short one."""
    random = np.random.default_rng(0)
    users, items = random.integers(0, 50, ROWS), random.integers(0, 60, ROWS)
    labels = 1 + (users + items) % 5
    lines = (f"{u},t{i},{x}" for u, i, x in zip(users, items, labels, strict=True))
    path = tmp_path_factory.mktemp("table") / "ratings.csv"
    path.write_text("user_id,movie_title,user_rating\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("name", "workers"),
    [
        ("mirrored", ()),
        pytest.param("multiworker", ("--workers", "2"), marks=pytest.mark.slow),
    ],
)
def test_metrics_are_those_of_one_worker(
    table: Path, name: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    options = ("--ratings", str(table), "--epochs", str(EPOCHS), "--output", str(tmp_path))
    done = python("-m", "model.train", *options, "--strategy", name, *workers)
    assert done.returncode == 0, done.stderr
    together = json.loads((tmp_path / "metrics.json").read_text())
    _, alone = train.train(data.load(str(table)), EPOCHS)
    assert together["test_rmse"] == pytest.approx(alone.test_rmse, abs=TOLERANCE)
    assert together["test_loss"] == pytest.approx(alone.test_loss, abs=TOLERANCE)
    # Training did something: labels from 1 to 5, and predictions near 0 before it.
    assert alone.test_rmse < 2.5
    assert (tmp_path / "saved_model" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "multiworker"], "TF_CONFIG"),
        (["--strategy", "parameter-server"], "unknown strategy 'parameter-server'"),
        (["--strategy", "mirrored", "--preset", "accurate"], "preset tutorial only"),
        (["--workers", "2"], "--workers goes with --strategy multiworker"),
    ],
)
def test_wrong_use_is_one_line(
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(SystemExit) as ended:
        train.app(["--output", str(tmp_path / "out"), *options])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line


def test_failed_worker_ends_the_others() -> None:
    # No such option: both say so and end.
    with pytest.raises(distribution.DistributionError, match="a worker failed"):
        distribution.run_workers("json.tool", ["--no-such-option"], 2)


def test_environment_of_a_worker() -> None:
    made = environment.of_worker(["localhost:1", "localhost:2"], 1)
    assert json.loads(made["TF_CONFIG"]) == {
        "cluster": {"worker": ["localhost:1", "localhost:2"]},
        "task": {"type": "worker", "index": 1},
    }
    assert made["PATH"] == os.environ["PATH"]
    assert "TF_CONFIG" not in os.environ
