"""Training: the tutorial's recipe, and `python -m model.train`."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

from model import data, distribution, options, presets, progress, ranking

TEST_BATCH = 4096
SEED = 42
# Beyond that, tables are read again for each epoch: rows would fill the memory.
MOST_CACHED_ROWS = 2_000_000
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
    preset: str = presets.TUTORIAL


def train(
    ratings: data.Ratings,
    epochs: int | None = None,
    seed: int = SEED,
    on_epoch: Callable[[int, float], None] = lambda epoch, rmse: None,
    strategy: tf.distribute.Strategy | None = None,
    preset: presets.Preset = presets.PRESETS[presets.TUTORIAL],
    notice: data.Notice = lambda message: None,
) -> tuple[ranking.MovielensModel, Training]:
    """Trains a model by a preset, the tutorial's where none is given.

    The same seed gives the same weights: op determinism is switched on, which also holds on
    machines with more cores.

    Args:
        ratings: all ratings; the split is the tutorial's.
        epochs: passes over the training ratings; the preset's where None.
        seed: of the split, the initial weights and the shuffling.
        on_epoch: called after each epoch with its number, from 1, and the training RMSE.
        strategy: spreads the training over devices or machines; the metrics are measured, and
            the model comes back, without it.
        preset: how to train.
        notice: told how fast rows are trained on.
    """
    epochs = epochs or preset.epochs
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    parts = data.split(ratings, seed)
    may_be_cached = ratings.rows <= MOST_CACHED_ROWS
    batches = _batches(parts.train, preset, may_be_cached)
    tested = parts.test.batch(TEST_BATCH)
    model = preset.build(ratings)
    callbacks = [
        tf.keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: on_epoch(epoch + 1, logs["root_mean_squared_error"])
        ),
        _Rate(preset.batch, data.Pace("training", notice, ratings.rows * 4 // 5 * epochs)),
    ]
    if strategy is None:
        model.fit(batches, epochs=epochs, verbose=0, callbacks=callbacks)
    else:
        if may_be_cached:
            # Workers would shuffle in an order of their own: this is the one that one worker
            # takes. Keras's `fit` drops the first iterator it makes, and with it an order.
            iter(batches)
            rows = data.columns(batches.unbatch())
            batches = tf.data.Dataset.from_tensor_slices(rows).batch(preset.batch)
        distribution.fit(strategy, model, ratings, batches, epochs, callbacks)
    metrics = model.evaluate(tested, return_dict=True, verbose=0)
    return model, Training(
        test_rmse=float(metrics["root_mean_squared_error"]),
        test_loss=float(metrics["loss"]),
        epochs=epochs,
        seed=seed,
        ratings_source=str(ratings.source),
        ratings_checksum=ratings.checksum,
        preset=preset.name,
    )


def _batches(
    train: tf.data.Dataset, preset: presets.Preset, may_be_cached: bool
) -> tf.data.Dataset:
    """Training batches, shuffled: as in the tutorial once for all epochs, else for each."""
    if preset.is_tutorial:
        batches = train.shuffle(data.SHUFFLE_BUFFER).batch(preset.batch)
        return batches.cache() if may_be_cached else batches
    rows = train.cache() if may_be_cached else train
    return rows.shuffle(data.SHUFFLE_BUFFER).batch(preset.batch)


class _Rate(tf.keras.callbacks.Callback):
    """Counts the rows that are trained on."""

    def __init__(self, batch: int, pace: data.Pace) -> None:
        super().__init__()
        self._batch, self._pace = batch, pace

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts a batch."""
        self._pace.add(self._batch)


def example_predictions(model: ranking.MovielensModel) -> list[tuple[str, float]]:
    """The tutorial's three titles for user 42, best first."""
    scores = {
        title: float(
            model({"user_id": np.array([EXAMPLE_USER]), "movie_title": np.array([title])})[0, 0]
        )
        for title in EXAMPLE_TITLES
    }
    return sorted(scores.items(), key=lambda item: item[1], reverse=True)


def _example_table(model: ranking.MovielensModel) -> Table:
    table = Table(title=f"user {EXAMPLE_USER}")
    table.add_column("movie_title")
    table.add_column("score", justify="right")
    for title, score in example_predictions(model):
        table.add_row(title, f"{score:.4f}")
    return table


EXAMPLES = """\b
Examples:
  python -m model.train --output trained
  python -m model.train --output trained --preset accurate
  python -m model.train --output trained --ratings 'plays/*.parquet' --user-column listener
    --item-column track --label-column seconds --min-count 5
  python -m model.train --output trained --strategy multiworker --workers 2
"""
app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog=EXAMPLES)
def main(
    context: typer.Context,
    output: Annotated[Path, typer.Option(help="Folder for the SavedModel and metrics.json.")],
    ratings: options.Ratings = data.AUTO,
    user_column: options.UserColumn = data.COLUMNS.user,
    item_column: options.ItemColumn = data.COLUMNS.item,
    label_column: options.LabelColumn = data.COLUMNS.label,
    min_count: options.MinCount = 1,
    data_dir: options.DataDir = None,
    preset: options.Preset = presets.TUTORIAL,
    epochs: options.Epochs = None,
    seed: options.Seed = SEED,
    strategy: options.Strategy = distribution.NONE,
    workers: options.Workers = None,
) -> None:
    """Trains the tutorial's ranking model on MovieLens 100k, or on ratings of your own."""
    console = Console()
    try:
        chosen = presets.named(preset)
        if strategy != distribution.NONE and not chosen.is_tutorial:
            raise distribution.DistributionError(
                f"--strategy {strategy} trains the preset {presets.TUTORIAL} only"
            )
        if workers is not None and strategy != distribution.MULTIWORKER:
            raise distribution.DistributionError(
                f"--workers goes with --strategy {distribution.MULTIWORKER}"
            )
        spread = None if workers else distribution.strategy_named(strategy)
        output.mkdir(parents=True, exist_ok=True)
        names = data.ColumnNames(user_column, item_column, label_column)
        with progress.Stages(console) as stages:
            loaded = data.load(ratings, data_dir, stages, names, min_count)
        if workers:
            # The ratings are prepared by now, which two processes must not do at once.
            distribution.run_workers("model.train", _without_workers(context), workers)
            return
    except (
        data.RatingsError,
        presets.UnknownPresetError,
        distribution.DistributionError,
        OSError,
    ) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(2) from error
    with progress.Stages(console) as stages:
        stages(f"training on {loaded.rows:,} ratings of {loaded.source}")
        trained, training = train(
            loaded,
            epochs,
            seed,
            lambda epoch, rmse: stages(f"epoch {epoch}: RMSE {rmse:.4f}"),
            strategy=spread,
            preset=chosen,
            notice=stages,
        )
    if not distribution.is_chief(spread):
        return
    trained.save(str(output / "saved_model"))
    (output / "metrics.json").write_text(json.dumps(asdict(training), indent=2))
    console.print(f"test RMSE {training.test_rmse:.4f}")
    if loaded.source.is_movielens:
        console.print(_example_table(trained))
    console.print(f"saved to {output}", soft_wrap=True)


def _without_workers(context: typer.Context) -> list[str]:
    """The command's own options again, by which each worker is started."""
    options_given = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name != "workers" and value is not None:
            options_given += [parameter.opts[0], str(value)]
    return options_given


if __name__ == "__main__":
    app()
