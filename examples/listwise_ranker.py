"""A listwise ranker: `python -m examples.listwise_ranker --output DIR`.

After the TFRS tutorial https://www.tensorflow.org/recommenders/examples/listwise_ranking
(Apache-2.0): a user's lists of movies are scored together and trained with ListMLE. Unlike
there, the saved model takes lists of any length.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tensorflow_recommenders as tfrs
import typer

from model import data

Columns = dict[str, npt.NDArray[Any]]

USER = "user_id"
TITLES = "movie_title"
RATINGS = "user_rating"

DIMENSION = 32
LIST_LENGTH = 5
LISTS_PER_USER = 50


def lists(ratings: data.Ratings, per_user: int = LISTS_PER_USER, seed: int = 42) -> Columns:
    """Lists drawn from each user's ratings.

    Returns:
        `user_id: bytes[n]`, `movie_title: bytes[n, 5]` and `user_rating: float32[n, 5]`.
    """
    columns = data.columns(ratings.dataset)
    random = np.random.default_rng(seed)
    _, users = np.unique(columns[USER].astype(bytes), return_inverse=True)
    by_user = np.argsort(users, kind="stable")
    rows = np.stack(
        [
            random.choice(own, LIST_LENGTH, replace=False)
            for own in np.split(by_user, np.cumsum(np.bincount(users))[:-1])
            for _ in range(per_user)
        ]
    )
    return {
        USER: columns[USER][rows[:, 0]],
        TITLES: columns[TITLES][rows],
        RATINGS: columns[RATINGS][rows],
    }


def list_mle(labels: tf.Tensor, scores: tf.Tensor) -> tf.Tensor:
    """The negative log-likelihood of the labels' order under the Plackett-Luce model.

    Xia et al., Listwise Approach to Learning to Rank, ICML 2008; as `tfr.keras.losses.ListMLELoss`,
    whose package needs an older TensorFlow.

    Args:
        labels: `float32[n, list]`, higher is better.
        scores: `float32[n, list]`.
    """
    # Ties are broken by chance: less than the step from one rating to the next.
    order = tf.argsort(
        labels + tf.random.uniform(tf.shape(labels), maxval=0.5), direction="DESCENDING"
    )
    ordered = tf.gather(scores, order, batch_dims=1)
    rest = tf.math.cumulative_logsumexp(ordered, axis=1, reverse=True)
    return tf.reduce_mean(tf.reduce_sum(rest - ordered, axis=1))


class ListwiseRanker(tfrs.models.Model):
    """Scores each movie of a user's list."""

    def __init__(self, users: npt.NDArray[Any], titles: npt.NDArray[Any]) -> None:
        super().__init__()
        self.user_embeddings = self._embeddings(users)
        self.movie_embeddings = self._embeddings(titles)
        self.score_model = tf.keras.Sequential(
            [
                tf.keras.layers.Dense(256, activation="relu"),
                tf.keras.layers.Dense(64, activation="relu"),
                tf.keras.layers.Dense(1),
            ]
        )

    @staticmethod
    def _embeddings(ids: npt.NDArray[Any]) -> tf.keras.Sequential:
        lookup = tf.keras.layers.StringLookup(vocabulary=ids, mask_token=None)
        return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, DIMENSION)])

    def call(self, features: dict[str, tf.Tensor]) -> tf.Tensor:
        """Scores, `float32[n, list, 1]`, of users, `string[n]`, and titles, `string[n, list]`."""
        users = self.user_embeddings(features[USER])
        movies = self.movie_embeddings(features[TITLES])
        repeated = tf.repeat(users[:, None], tf.shape(features[TITLES])[1], axis=1)
        return self.score_model(tf.concat([repeated, movies], axis=2))

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """ListMLE of a batch of lists."""
        return list_mle(features[RATINGS], tf.squeeze(self(features), axis=-1))


def train(
    rows: Columns, titles: npt.NDArray[Any], epochs: int = 5, batch: int = 4096, seed: int = 42
) -> ListwiseRanker:
    """Trains on all the lists given."""
    tf.keras.utils.set_random_seed(seed)
    model = ListwiseRanker(np.unique(rows[USER].astype(bytes)), titles)
    model.compile(tf.keras.optimizers.Adagrad(0.1))
    batches = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(rows[USER]), seed).batch(batch)
    model.fit(batches, epochs=epochs, verbose=0)
    return model


def save(model: ListwiseRanker, folder: Path) -> None:
    """Saves a model whose signature takes lists of any length.

    Without `signatures`, Keras would keep the length of the lists that it was trained on.
    """

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, USER),
            tf.TensorSpec([None, None], tf.string, TITLES),
        ]
    )
    def serve(user_id: tf.Tensor, movie_title: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": model({USER: user_id, TITLES: movie_title})}

    model.save(str(folder), signatures={"serving_default": serve})


def main(
    output: Annotated[Path, typer.Option(help="Folder for the SavedModel.")],
    ratings: Annotated[
        str, typer.Option(help="auto, embedded, or GroupLens's ml-100k.zip or folder.")
    ] = data.AUTO,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the lists.")] = 5,
) -> None:
    """Trains a listwise ranker on MovieLens 100k.

    Example: python -m examples.listwise_ranker --output build/listwise
    """
    # Saving warns of what only a rebuilt Keras object would need.
    tf.get_logger().setLevel("ERROR")
    loaded = data.load(ratings)
    save(train(lists(loaded), loaded.movie_titles, epochs), output / "saved_model")
    typer.echo(f"saved to {output / 'saved_model'}")


if __name__ == "__main__":
    typer.run(main)
