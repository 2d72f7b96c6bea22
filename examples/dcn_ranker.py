"""A DCN-v2 ranker with context features: `python -m examples.dcn_ranker --output DIR`.

After the TFRS tutorial https://www.tensorflow.org/recommenders/examples/dcn (Apache-2.0), with
the movies' genres as well, and two heads: the rating, and how likely it is a good one.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet
import tensorflow as tf
import tensorflow_recommenders as tfrs
import typer

from model import data

Columns = dict[str, npt.NDArray[Any]]

STRINGS = ("user_id", "movie_title", "user_occupation_text", "user_zip_code")
INTEGERS = ("user_gender", "bucketized_user_age")
AGE = "raw_user_age"
GENRES = "movie_genres"
RATING = "user_rating"

GENRE_SLOTS = 6
"""A movie has at most six; slots beyond its own hold 0, which is no genre."""
GENRE_TOKENS = 22
GOOD = 4.0
DIMENSION = 16
RATINGS = 100_000


def columns(source: str = data.EMBEDDED, limit: int = RATINGS) -> Columns:
    """Features and ratings: strings `bytes[n]`, integers `int64[n]`, genres `int64[n, 6]`."""

    def features(record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        genres = record[GENRES][:GENRE_SLOTS] + 1
        return {
            **{name: record[name] for name in STRINGS},
            **{name: tf.cast(record[name], tf.int64) for name in INTEGERS},
            AGE: record[AGE],
            GENRES: tf.pad(genres, [[0, GENRE_SLOTS - tf.size(genres)]]),
            RATING: record[RATING],
        }

    return data.columns(data.records(source).take(limit).map(features))


class DCNRanker(tfrs.models.Model):
    """Embeddings of every feature, a cross network, dense layers, and two heads."""

    def __init__(self, known: Columns) -> None:
        super().__init__()
        self.lookups = {
            name: tf.keras.layers.StringLookup(vocabulary=np.unique(known[name].astype(bytes)))
            for name in STRINGS
        }
        for name in INTEGERS:
            # Adapted rather than given: such a layer keeps its vocabulary in another kind of table.
            self.lookups[name] = tf.keras.layers.IntegerLookup()
            self.lookups[name].adapt(known[name])
        self.embeddings = {
            name: tf.keras.layers.Embedding(lookup.vocabulary_size(), DIMENSION)
            for name, lookup in self.lookups.items()
        }
        self.age = tf.keras.layers.Normalization(axis=None)
        self.age.adapt(known[AGE])
        self.genres = tf.keras.layers.CategoryEncoding(GENRE_TOKENS, output_mode="multi_hot")
        self.cross = tfrs.layers.dcn.Cross(projection_dim=32)
        self.deep = tf.keras.Sequential(
            [tf.keras.layers.Dense(units, activation="relu") for units in (96, 32)]
        )
        self.rating = tf.keras.layers.Dense(1)
        self.good = tf.keras.layers.Dense(1, activation="sigmoid")
        self.rating_task = tfrs.tasks.Ranking(
            tf.keras.losses.MeanSquaredError(), [tf.keras.metrics.RootMeanSquaredError()]
        )
        self.good_task = tfrs.tasks.Ranking(tf.keras.losses.BinaryCrossentropy())

    def call(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Each head's scores, `float32[n, 1]`."""
        parts = [
            self.embeddings[name](lookup(features[name])) for name, lookup in self.lookups.items()
        ]
        parts.append(self.age(features[AGE])[:, None])
        parts.append(self.genres(features[GENRES]))
        hidden = self.deep(self.cross(tf.concat(parts, axis=1)))
        return {"rating": self.rating(hidden), "good": self.good(hidden)}

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The sum of both tasks' losses; the ratings stand in the features, as in the tutorial."""
        ratings = features[RATING]
        scores = self(features)
        good = tf.cast(ratings >= GOOD, tf.float32)
        return self.rating_task(labels=ratings, predictions=scores["rating"]) + self.good_task(
            labels=good, predictions=scores["good"]
        )


def train(known: Columns, epochs: int = 2, batch: int = 2048, seed: int = 42) -> DCNRanker:
    """Trains on all the rows given."""
    tf.keras.utils.set_random_seed(seed)
    model = DCNRanker(known)
    model.compile(tf.keras.optimizers.Adagrad(0.1))
    rows = tf.data.Dataset.from_tensor_slices(known).shuffle(len(known[RATING]), seed).batch(batch)
    model.fit(rows, epochs=epochs, verbose=0)
    return model


def save_rows(known: Columns, path: Path, count: int = 20_000) -> None:
    """Writes the last rows as Parquet, for `python -m export.tflite --features`."""
    last = {name: values[-count:].tolist() for name, values in known.items()}
    pyarrow.parquet.write_table(pa.table(last), path)


def main(
    output: Annotated[
        Path, typer.Option(help="Folder for the SavedModel, and features.parquet to measure on.")
    ],
    ratings: Annotated[
        str, typer.Option(help="auto, embedded, or GroupLens's ml-100k.zip or folder.")
    ] = data.AUTO,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the ratings.")] = 2,
) -> None:
    """Trains a DCN-v2 ranker with context features on MovieLens 100k.

    Example: python -m examples.dcn_ranker --output build/dcn
    """
    # Saving warns of what only a rebuilt Keras object would need.
    tf.get_logger().setLevel("ERROR")
    known = columns(ratings)
    train(known, epochs).save(str(output / "saved_model"))
    save_rows(known, output / "features.parquet")
    typer.echo(f"saved to {output / 'saved_model'} and {output / 'features.parquet'}")


if __name__ == "__main__":
    typer.run(main)
