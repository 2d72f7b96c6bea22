from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from examples import dcn_ranker
from export.features import model
from export.serving import ModelError
from tests.export.features.conftest import Case

layers = tf.keras.layers


def test_features_keep_names_types_and_shapes(dcn: Case) -> None:
    assert [str(feature) for feature in dcn.model.features] == [
        "bucketized_user_age: int64[n]",
        "movie_genres: int64[n, 6]",
        "movie_title: string[n]",
        "raw_user_age: float32[n]",
        "user_gender: int64[n]",
        "user_id: string[n]",
        "user_occupation_text: string[n]",
        "user_zip_code: string[n]",
    ]


def test_a_label_among_the_features_is_no_input(dcn: Case) -> None:
    assert dcn.model.unused == ("user_rating",)


def test_heads_keep_their_names(dcn: Case) -> None:
    assert sorted(dcn.model.outputs) == ["good", "rating"]


def test_lists_of_any_length(listwise: Case) -> None:
    assert [str(feature) for feature in listwise.model.features] == [
        "movie_title: string[n, n]",
        "user_id: string[n]",
    ]
    assert list(listwise.model.outputs) == ["score"]


def test_reference_is_what_the_keras_model_answers(dcn: Case, known: dcn_ranker.Columns) -> None:
    some = {name: values[:200] for name, values in known.items()}
    answer = dcn.keras({name: tf.constant(values) for name, values in some.items()})
    scores = dcn.model.score(some)
    for head in ("rating", "good"):
        # The same ops in the same order, but fused otherwise in a graph: some float32 steps.
        np.testing.assert_allclose(scores[head], np.ravel(answer[head]), rtol=1e-5)


def test_every_table_and_kernel_is_found(dcn: Case) -> None:
    weights = [w for w in dcn.keras.trainable_weights if len(w.shape) == 2]
    sizes = sorted(matrix.shape for matrix in dcn.model.matrices)
    assert sizes == sorted(tuple(weight.shape) for weight in weights)


def test_keras_file(tmp_path: Path) -> None:
    given = tf.keras.Input((), dtype=tf.int32, name="count")
    score = layers.Dense(1, name="likely")(tf.cast(given, tf.float32)[:, None])
    tf.keras.Model([given], score).save(tmp_path / "ranker.keras")
    loaded = model.load(tmp_path / "ranker.keras")
    assert [str(feature) for feature in loaded.features] == ["count: int32[n]"]
    assert list(loaded.outputs) == ["likely"]
    assert loaded.score({"count": np.array([1, 2], np.int32)})["likely"].shape == (2,)


def test_neither_folder_nor_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no \.keras or \.h5 file"):
        model.load(tmp_path / "none")


def test_damaged_keras_file(tmp_path: Path) -> None:
    (tmp_path / "ranker.keras").write_bytes(b"no zip")
    with pytest.raises(ModelError, match="save_format='tf'"):
        model.load(tmp_path / "ranker.keras")


def saved(folder: Path, dtype: tf.DType, result: tf.DType = tf.float32, rows: int | None = None):
    module = tf.Module()
    module.call = tf.function(
        lambda number: {"score": tf.cast(number, result)},
        input_signature=[tf.TensorSpec([rows], dtype, "number")],
    )
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.call})
    return folder


def test_saved_without_keras(tmp_path: Path) -> None:
    loaded = model.load(saved(tmp_path, tf.int64))
    assert [str(feature) for feature in loaded.features] == ["number: int64[n]"]


def test_input_of_a_type_that_has_no_place(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="input 'number' is float64"):
        model.load(saved(tmp_path, tf.float64))


def test_fixed_number_of_rows(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of any size, for rows"):
        model.load(saved(tmp_path, tf.int64, rows=8))


def test_output_that_is_no_score(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="output 'score' is int64"):
        model.load(saved(tmp_path, tf.int64, tf.int64))


def test_no_signature(tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path))
    with pytest.raises(ModelError, match="no signature 'serving_default'"):
        model.load(tmp_path)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable([[1.0], [np.nan]])
    module.call = tf.function(
        lambda numbers: {"score": numbers @ module.kernel},
        input_signature=[tf.TensorSpec([None, 2], tf.float32, "numbers")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    with pytest.raises(ModelError, match=r"1 of 2 trained numbers .* are NaN"):
        model.load(tmp_path)
