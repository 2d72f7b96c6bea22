"""Presets: the tutorial's training exactly, and a stronger one of the same parts."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from model import ranking
from model.ratings import Ratings


class UnknownPresetError(ValueError):
    """No preset of that name."""


@dataclass(frozen=True)
class Preset:
    """How a model is built and trained.

    Attributes:
        name: what `--preset` takes.
        summary: one line for people.
        epochs: passes over the training ratings.
        batch: ratings a step.
        learning_rate: of Adagrad for the tutorial, of Adam otherwise.
        dimension: of the embeddings.
        dropout: share of activations dropped in training, after the embeddings and each layer.
        l2: weight of the looked-up rows' squares in the loss, a mean over the batch.
        average: momentum of the exponential moving average of the weights, which is what is
            kept; None keeps the last step's.
    """

    name: str
    summary: str
    epochs: int
    batch: int
    learning_rate: float
    dimension: int
    dropout: float = 0.0
    l2: float = 0.0
    average: float | None = None

    @property
    def is_tutorial(self) -> bool:
        """Whether it is the tutorial's own model, built by the tutorial's own class."""
        return self.average is None

    def build(self, ratings: Ratings) -> ranking.MovielensModel:
        """An untrained model for these ratings' vocabularies, compiled."""
        if self.is_tutorial:
            model = ranking.MovielensModel(ratings.user_ids, ratings.movie_titles, self.dimension)
            optimizer = tf.keras.optimizers.Adagrad(learning_rate=self.learning_rate)
        else:
            model = RegularizedModel(ratings, self)
            optimizer = tf.keras.optimizers.Adam(
                learning_rate=self.learning_rate, use_ema=True, ema_momentum=self.average
            )
        model.compile(optimizer=optimizer)
        return model


class RegularizedModel(ranking.MovielensModel):
    """The tutorial's layers, of other sizes, with dropout and a penalty on the embeddings."""

    def __init__(self, ratings: Ratings, preset: Preset) -> None:
        super().__init__(ratings.user_ids, ratings.movie_titles, preset.dimension)
        for tower in (self.ranking_model.user_embeddings, self.ranking_model.movie_embeddings):
            rows = tower.layers[1].input_dim
            tower.pop()
            tower.add(
                tf.keras.layers.Embedding(
                    rows,
                    preset.dimension,
                    embeddings_initializer=tf.keras.initializers.RandomNormal(stddev=0.05),
                    # Keras takes the mean over the batch: frequent ids are penalized more often,
                    # as in SGD for matrix factorization (Koren, Bell and Volinsky 2009).
                    activity_regularizer=tf.keras.regularizers.L2(preset.l2),
                )
            )
        dense = self.ranking_model.ratings.layers
        self.ranking_model.ratings = tf.keras.Sequential(
            [tf.keras.layers.Dropout(preset.dropout)]
            + [
                layer
                for one in dense[:-1]
                for layer in (one, tf.keras.layers.Dropout(preset.dropout))
            ]
            + [dense[-1]]
        )

    def call(self, features: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Predicted labels, `float32[n, 1]`; in training, dropout is at work."""
        inner = self.ranking_model
        rows = [
            inner.user_embeddings(features["user_id"]),
            inner.movie_embeddings(features["movie_title"]),
        ]
        return inner.ratings(tf.concat(rows, axis=1), training=training)

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> Any:
        """As the tutorial's, but tells the layers whether this is training."""
        labels = features.pop("user_rating")
        return self.task(labels=labels, predictions=self(features, training=training))


TUTORIAL = "tutorial"
PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            Preset(
                TUTORIAL,
                "the TFRS tutorial exactly",
                epochs=3,
                batch=8192,
                learning_rate=0.1,
                dimension=ranking.EMBEDDING_DIMENSION,
            ),
            Preset(
                "accurate",
                "the same parts, regularized and trained for longer",
                epochs=40,
                batch=512,
                learning_rate=1e-3,
                dimension=16,
                dropout=0.4,
                l2=0.1,
                average=0.998,
            ),
        )
    }
)


def named(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UnknownPresetError: there is none; the message lists those that there are.
    """
    if name not in PRESETS:
        raise UnknownPresetError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
