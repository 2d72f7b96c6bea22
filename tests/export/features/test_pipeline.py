"""Whole exports of models that are not the tutorial's."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from examples import dcn_ranker
from export import metadata, quantization, runtime, selection, tflite
from export.features import pipeline
from model import ranking
from tests import support
from tests.export.features.conftest import Case

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command here, with warm runtimes; gives the exit code and standard error."""
    warm = {support.NEWEST: support.warm(support.NEWEST)}
    monkeypatch.setattr(runtime, "named", warm.__getitem__)

    def call(*arguments: str | Path) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            tflite.app([*map(str, arguments), "--runtime", support.NEWEST, "--quiet"])
        return int(ended.value.code or 0), capfd.readouterr().err

    return call


def test_dcn_from_the_command_line(
    dcn: Case, known: dcn_ranker.Columns, run: Run, tmp_path: Path
) -> None:
    features = tmp_path / "rows.parquet"
    dcn_ranker.save_rows(known, features, 1000)
    out = tmp_path / "out"
    options = ("--features", features, "--group-by", "user_id", "--output-dir", out)
    code, errors = run("--model", dcn.folder, *options)
    assert (code, errors) == (0, "")
    content = (out / "ranker.tflite").read_bytes()
    measured = json.loads((out / "parity.json").read_text())
    assert measured["rows"]["source"] == "rows.parquet, 1,000 rows"
    # Users with one rating only have no order.
    _, counts = np.unique(known["user_id"][-1000:].astype(bytes), return_counts=True)
    (ran,) = measured["runtimes"]
    assert ran["outputs"][0]["agreement"]["users"] == int(np.sum(counts > 1))
    assert metadata.read(content)["features"]["movie_genres"]["shape"] == [None, 6]
    vocabulary = json.loads((out / "vocabulary.json").read_text())
    assert vocabulary["user_gender"] == [0, 1]
    assert "float32[n]" in (out / "model_card.md").read_text()
    assert_golden(json.loads((out / "golden.json").read_text()), content)


def assert_golden(golden: dict[str, dict[str, dict[str, list[object]]]], content: bytes) -> None:
    """The golden rows, read back by name alone, score as they say."""
    case = golden["score"]
    inputs = {}
    types = {"raw_user_age": np.float32}
    for name, values in case["inputs"].items():
        if name in case["inputs_hex"]:
            texts = [bytes.fromhex(str(text)) for text in case["inputs_hex"][name]]
            inputs[name] = np.array(texts, dtype=object)
        else:
            inputs[name] = np.array(values, types.get(name, np.int64))
    with support.warm(support.NEWEST).open(content) as session:
        scores = session.run("score", **inputs)
    for name, values in case["tflite"].items():
        np.testing.assert_array_equal(scores[name], np.array(values, np.float32))


def test_a_refused_layer_ends_it_before_conversion(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tf.keras.Input((), dtype=tf.string, name="user_id")
    hashed = tf.keras.layers.Hashing(10, name="user_hash")(user)
    keras = tf.keras.Model([user], tf.keras.layers.Embedding(10, 1)(hashed))
    keras.save(tmp_path / "ranker.keras")
    monkeypatch.setattr(pipeline.conversion, "to_float32", pytest.fail)
    code, errors = run("--model", tmp_path / "ranker.keras", "--output-dir", tmp_path / "out")
    assert code == 2
    assert "Hashing 'user_hash': StringToHashBucketFast" in errors
    assert "use StringLookup" in errors
    assert not list((tmp_path / "out").iterdir())


def test_lists_of_any_length_and_no_rows(listwise: Case, tmp_path: Path) -> None:
    kind = support.warm(support.NEWEST)
    int8 = quantization.recipes_named("int8")
    wanted = selection.Wanted()
    request = pipeline.Request(tmp_path, int8, wanted, listwise.folder, None, None, (kind,))
    result = pipeline.run(request)
    assert result.chosen is not None
    titles = listwise.expected.rows.values["movie_title"].ravel()
    with kind.open(tmp_path / "ranker.tflite") as session:
        for rows, length in ((1, 1), (3, 7), (2, 200)):
            users = listwise.expected.rows.values["user_id"][:rows]
            inputs = {
                "user_id": users,
                "movie_title": titles[: rows * length].reshape(rows, length),
            }
            expected = listwise.model.score(inputs)["score"]
            assert expected.shape == (rows, length)
            # As the gate allows int8 of the spread of this model's scores.
            within = 0.15 * expected.std() + 0.15 * listwise.expected.scores["score"].std()
            np.testing.assert_allclose(
                session.run("score", **inputs)["score"], expected, atol=within
            )


def test_a_broken_limit_publishes_nothing(
    dcn: Case, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = dcn.file("int4")
    monkeypatch.setattr(pipeline.conversion, "to_float32", lambda module: dcn.float_model)
    monkeypatch.setattr(pipeline.quantization, "apply", lambda recipe, model: lacking)
    options = ("--recipe", "float32", "--output-dir", tmp_path)
    code, errors = run("--model", dcn.folder, *options)
    assert code == 1
    assert "not published: litert, rating: largest error" in errors
    assert not list(tmp_path.iterdir())


def test_the_tutorials_model_keeps_its_own_way(saved_model: Path) -> None:
    assert not pipeline.is_general(saved_model / "saved_model")


def test_features_need_a_model(run: Run, tmp_path: Path) -> None:
    code, errors = run("--features", tmp_path / "rows.parquet")
    assert code == 2
    assert "--features goes with --model" in errors


def test_options_of_the_tutorials_model_are_refused(dcn: Case, run: Run, tmp_path: Path) -> None:
    code, errors = run("--model", dcn.folder, "--oov", "mean", "--output-dir", tmp_path)
    assert code == 2
    assert "--oov" in errors
    assert not list(tmp_path.iterdir())


def test_the_tutorials_parts_with_another_feature_go_the_general_way(tmp_path: Path) -> None:
    """Left out without a word, the third feature would be missing from the file."""

    class Contextual(ranking.MovielensModel):
        def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
            return super().call(features) * features["weight"][:, None]

    keras = Contextual(["1"], ["a"])
    ids = tf.constant(["1"])
    keras({"user_id": ids, "movie_title": ids, "weight": tf.constant([2.0])})
    keras.save(str(tmp_path))
    assert pipeline.is_general(tmp_path)
