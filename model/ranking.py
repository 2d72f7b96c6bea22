"""The ranking model: the TFRS basic-ranking tutorial's two classes.

Source: https://www.tensorflow.org/recommenders/examples/basic_ranking (Apache-2.0).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_recommenders as tfrs

Ids: TypeAlias = Sequence[str] | npt.NDArray[np.bytes_]

EMBEDDING_DIMENSION = 32
LEARNING_RATE = 0.1


class RankingModel(tf.keras.Model):
    """Scores (user, movie) pairs: two embeddings, concatenated, through three dense layers."""

    def __init__(
        self,
        unique_user_ids: Ids,
        unique_movie_titles: Ids,
        embedding_dimension: int = EMBEDDING_DIMENSION,
    ) -> None:
        super().__init__()
        self.user_embeddings = tf.keras.Sequential(
            [
                tf.keras.layers.StringLookup(vocabulary=unique_user_ids, mask_token=None),
                # One more row for out-of-vocabulary ids.
                tf.keras.layers.Embedding(len(unique_user_ids) + 1, embedding_dimension),
            ]
        )
        self.movie_embeddings = tf.keras.Sequential(
            [
                tf.keras.layers.StringLookup(vocabulary=unique_movie_titles, mask_token=None),
                tf.keras.layers.Embedding(len(unique_movie_titles) + 1, embedding_dimension),
            ]
        )
        self.ratings = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu"),
                tf.keras.layers.Dense(64, activation="relu"),
                tf.keras.layers.Dense(1),
            ]
        )

    def call(self, inputs: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        """Scores pairs.

        Args:
            inputs: user ids and movie titles, each `string[n]`.

        Returns:
            Predicted ratings, `float32[n, 1]`.
        """
        user_id, movie_title = inputs
        user_embedding = self.user_embeddings(user_id)
        movie_embedding = self.movie_embeddings(movie_title)
        return self.ratings(tf.concat([user_embedding, movie_embedding], axis=1))


class MovielensModel(tfrs.models.Model):
    """The TFRS model around `RankingModel`: its task, loss and metric."""

    def __init__(
        self,
        unique_user_ids: Ids,
        unique_movie_titles: Ids,
        embedding_dimension: int = EMBEDDING_DIMENSION,
    ) -> None:
        super().__init__()
        self.ranking_model = RankingModel(unique_user_ids, unique_movie_titles, embedding_dimension)
        self.task = tfrs.tasks.Ranking(
            loss=tf.keras.losses.MeanSquaredError(),
            metrics=[tf.keras.metrics.RootMeanSquaredError()],
        )

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Predicted ratings, `float32[n, 1]`, of `user_id` and `movie_title`, each `string[n]`."""
        return self.ranking_model((features["user_id"], features["movie_title"]))

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> Any:
        """The task's loss on one batch; `user_rating` is taken out of the features."""
        labels = features.pop("user_rating")
        rating_predictions = self(features)
        return self.task(labels=labels, predictions=rating_predictions)
