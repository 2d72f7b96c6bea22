"""The model's structure: the tutorial's, constant by constant."""

import numpy as np
import pytest
import tensorflow as tf

from model import ranking
from tests.support import Array


def test_structure(keras_model: ranking.MovielensModel) -> None:
    inner = keras_model.ranking_model
    for embeddings, known in ((inner.user_embeddings, 943), (inner.movie_embeddings, 1664)):
        lookup, table = embeddings.layers
        assert isinstance(lookup, tf.keras.layers.StringLookup)
        assert lookup.mask_token is None
        assert lookup.num_oov_indices == 1
        assert lookup.vocabulary_size() == known + 1
        assert table.embeddings.shape == (known + 1, 32)
    dense = [(layer.units, layer.activation.__name__) for layer in inner.ratings.layers]
    assert dense == [(256, "relu"), (64, "relu"), (1, "linear")]


def test_optimizer_loss_and_metric(keras_model: ranking.MovielensModel) -> None:
    assert type(keras_model.optimizer).__name__ == "Adagrad"
    assert float(keras_model.optimizer.learning_rate) == pytest.approx(0.1)
    task = keras_model.task
    assert isinstance(task._loss, tf.keras.losses.MeanSquaredError)
    assert [metric.name for metric in task.metrics] == ["root_mean_squared_error"]


def test_users_come_first(keras_model: ranking.MovielensModel) -> None:
    """The scores recomputed from the weights alone, with the user's half first."""
    inner = keras_model.ranking_model
    users, titles = ["42", "no such user"], ["Speed (1994)", "Fargo (1996)"]
    rows = []
    for embeddings, ids in ((inner.user_embeddings, users), (inner.movie_embeddings, titles)):
        lookup, table = embeddings.layers
        vocabulary = lookup.get_vocabulary()
        places = [vocabulary.index(one) if one in vocabulary else 0 for one in ids]
        rows.append(table.embeddings.numpy()[places])
    hidden: Array = np.concatenate(rows, axis=1).astype(np.float64)
    for number, layer in enumerate(inner.ratings.layers):
        kernel, bias = layer.get_weights()
        hidden = hidden @ kernel + bias
        hidden = hidden if number == 2 else np.maximum(hidden, 0)
    actual = keras_model({"user_id": np.array(users), "movie_title": np.array(titles)})
    # float32 against float64: a score near 4 has a step of 2.4e-7, over sums of 256 terms.
    np.testing.assert_allclose(actual.numpy(), hidden, rtol=0, atol=1e-5)


def test_compute_loss_takes_the_rating_out(keras_model: ranking.MovielensModel) -> None:
    features = {
        "user_id": tf.constant(["42", "1"]),
        "movie_title": tf.constant(["Speed (1994)", "Fargo (1996)"]),
        "user_rating": tf.constant([3.0, 5.0]),
    }
    scores = keras_model({k: v for k, v in features.items() if k != "user_rating"}).numpy()
    loss = float(keras_model.compute_loss(features))
    assert sorted(features) == ["movie_title", "user_id"]
    expected = np.mean((scores.reshape(-1) - [3.0, 5.0]) ** 2)
    # The loss is float32: 1e-6 is some eight of its steps.
    assert loss == pytest.approx(expected, rel=1e-6)


def test_dimension_can_be_chosen() -> None:
    model = ranking.RankingModel(["a", "b"], ["x"], embedding_dimension=4)
    assert model((tf.constant(["a"]), tf.constant(["x"]))).shape == (1, 1)
    assert model.user_embeddings.layers[1].embeddings.shape == (3, 4)
