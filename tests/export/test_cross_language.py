"""The app's own Kotlin class scores an export as Python does.

The JVM side is built by `android_sample/verify --build-only`; without it these tests are skipped,
and `.ci/run` builds it first.
"""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export import conversion, metadata, quantization, runtime, serving
from model import data, train
from tests import support
from tests.support import ROOT

SAMPLE = ROOT / "android_sample"
BUILT = (SAMPLE / "verification" / "tests" / "target" / "class-path").is_file()
pytestmark = pytest.mark.skipif(not BUILT, reason="run android_sample/verify --build-only first")

PAIRS = 1000
# Both run the same plain kernels; only the order of float sums may differ between builds.
TOLERANCE = 1e-5
FRESH_SEED = 7
ODD = [("", ""), ("nobody", "🎬🍿"), ("42", "Amélie é"), ("42", "千と千尋の神隠し (2001)")]


@pytest.fixture(scope="module")
def fresh_ranker(ratings: data.Ratings) -> serving.Ranker:
    """Other weights than the app's golden cases were made with."""
    model, _ = train.train(ratings, epochs=1, seed=FRESH_SEED)
    return serving.ranker_of(model)


@pytest.fixture(scope="module")
def fresh_float(fresh_ranker: serving.Ranker) -> bytes:
    return conversion.of_ranker(fresh_ranker)


@pytest.fixture(scope="module")
def pairs(fresh_ranker: serving.Ranker) -> list[tuple[str, str]]:
    random = np.random.default_rng(FRESH_SEED)
    users = random.choice(fresh_ranker.users.vocabulary, PAIRS)
    titles = random.choice(fresh_ranker.candidates.vocabulary, PAIRS)
    return [*zip(users.tolist(), titles.tolist(), strict=True), *ODD]


def test_kotlin_scores_as_python_does(
    recipe: str, fresh_float: bytes, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    file = quantization.apply(quantization.RECIPES[recipe], fresh_float)
    session = support.warm(support.NEWEST).open(file, xnnpack=False)
    users, titles = zip(*pairs, strict=True)
    expected = session.run("score", user_id=list(users), movie_title=list(titles))["score"]
    answer = kotlin(file, pairs, tmp_path)
    for way in ("score", "score_one_at_a_time"):
        actual = np.array(answer[way], np.float32)
        assert actual.shape == expected.shape
        assert np.abs(actual - expected).max() <= TOLERANCE
    # Scores differ between pairs by far more than the tolerance: agreement is no accident.
    assert np.std(expected) > 100 * TOLERANCE


def test_another_model_does_not_agree(
    fresh_float: bytes, pairs: list[tuple[str, str]], tmp_path: Path, exported: support.Exported
) -> None:
    users, titles = zip(*pairs, strict=True)
    session: runtime.Session = support.warm(support.NEWEST).open(exported.files["int8"])
    expected = session.run("score", user_id=list(users), movie_title=list(titles))["score"]
    file = quantization.apply(quantization.RECIPES["int8"], fresh_float)
    actual = np.array(kotlin(file, pairs, tmp_path)["score"], np.float32)
    assert np.abs(actual - expected).max() > TOLERANCE


def kotlin(file: bytes, pairs: list[tuple[str, str]], folder: Path) -> dict[str, list[float]]:
    """Scores by the app's RankingModel on a desktop JVM."""
    content = {"name": "test", "version": "1.0.0", "recipe": "test"}
    (folder / "model.tflite").write_bytes(metadata.add(file, content))
    (folder / "pairs.json").write_text(json.dumps(pairs))
    paths = [str(folder / name) for name in ("model.tflite", "pairs.json", "out.json")]
    run = subprocess.run(
        [str(SAMPLE / "score-jvm"), *paths], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    answer: dict[str, list[float]] = json.loads((folder / "out.json").read_text())
    return answer
