"""Training: the tutorial's recipe, and `python -m model.train`."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from model import data, ranking

TRAIN_BATCH = 8192
TEST_BATCH = 4096
EPOCHS = 3
SEED = 42
EXAMPLE_USER = "42"
EXAMPLE_TITLES = ("M*A*S*H (1970)", "Dances with Wolves (1990)", "Speed (1994)")


@dataclass(frozen=True)
class Training:
    """What training measured: metrics on the test ratings, and what it was given."""

    test_rmse: float
    test_loss: float
    epochs: int
    seed: int
    ratings_source: str
    ratings_checksum: str


def train(
    ratings: data.Ratings,
    epochs: int = EPOCHS,
    seed: int = SEED,
    on_epoch: Callable[[int, float], None] = lambda epoch, rmse: None,
) -> tuple[ranking.MovielensModel, Training]:
    """Trains the tutorial's model.

    The same seed gives the same weights: op determinism is switched on, which also holds on
    machines with more cores.

    Args:
        ratings: all ratings; the split is the tutorial's.
        epochs: passes over the training ratings.
        seed: of the split, the initial weights and the shuffling.
        on_epoch: called after each epoch with its number, from 1, and the training RMSE.
    """
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    parts = data.split(ratings, seed)
    cached_train = parts.train.shuffle(data.SHUFFLE_BUFFER).batch(TRAIN_BATCH).cache()
    cached_test = parts.test.batch(TEST_BATCH).cache()
    model = ranking.MovielensModel(ratings.user_ids, ratings.movie_titles)
    model.compile(optimizer=tf.keras.optimizers.Adagrad(learning_rate=ranking.LEARNING_RATE))
    report = tf.keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, logs["root_mean_squared_error"])
    )
    model.fit(cached_train, epochs=epochs, verbose=0, callbacks=[report])
    metrics = model.evaluate(cached_test, return_dict=True, verbose=0)
    return model, Training(
        test_rmse=float(metrics["root_mean_squared_error"]),
        test_loss=float(metrics["loss"]),
        epochs=epochs,
        seed=seed,
        ratings_source=str(ratings.source),
        ratings_checksum=ratings.checksum,
    )


def example_predictions(model: ranking.MovielensModel) -> list[tuple[str, float]]:
    """The tutorial's three titles for user 42, best first."""
    scores = {
        title: float(
            model({"user_id": np.array([EXAMPLE_USER]), "movie_title": np.array([title])})[0, 0]
        )
        for title in EXAMPLE_TITLES
    }
    return sorted(scores.items(), key=lambda item: item[1], reverse=True)


def main(
    output: Annotated[Path, typer.Option(help="Folder for the SavedModel and metrics.json.")],
    ratings: Annotated[
        str, typer.Option(help="auto, embedded, or GroupLens's ml-100k.zip or folder.")
    ] = data.AUTO,
    data_dir: Annotated[Path | None, typer.Option(help="TFDS's data directory.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training ratings.")] = EPOCHS,
    seed: Annotated[int, typer.Option(help="Of the split, weights and shuffling.")] = SEED,
) -> None:
    """Trains the tutorial's ranking model on MovieLens 100k.

    Example: python -m model.train --output artifacts/trained
    """
    console = Console()
    try:
        output.mkdir(parents=True, exist_ok=True)
        loaded = data.load(ratings, data_dir, console.print)
    except (data.RatingsError, OSError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    with Progress(console=console) as progress:
        task = progress.add_task("training", total=epochs)
        trained, training = train(
            loaded,
            epochs,
            seed,
            lambda epoch, rmse: progress.update(
                task, completed=epoch, description=f"epoch {epoch}: RMSE {rmse:.4f}"
            ),
        )
    trained.save(str(output / "saved_model"))
    (output / "metrics.json").write_text(json.dumps(asdict(training), indent=2))
    table = Table(title=f"User {EXAMPLE_USER}; test RMSE {training.test_rmse:.4f}")
    table.add_column("movie_title")
    table.add_column("score", justify="right")
    for title, score in example_predictions(trained):
        table.add_row(title, f"{score:.4f}")
    console.print(table)
    console.print(f"saved to {output}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
