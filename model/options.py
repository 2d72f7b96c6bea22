"""Command-line options that training and exporting share."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Ratings: TypeAlias = Annotated[
    str,
    typer.Option(
        help="MovieLens 100k: auto, embedded, or GroupLens's ml-100k.zip or folder. Your own: "
        "CSV or Parquet files (a file, a folder, a glob), or tfds:NAME."
    ),
]
DataDir: TypeAlias = Annotated[Path | None, typer.Option(help="TFDS's data directory.")]
UserColumn: TypeAlias = Annotated[str, typer.Option(help="Your ratings' column of user ids.")]
ItemColumn: TypeAlias = Annotated[str, typer.Option(help="Your ratings' column of item ids.")]
LabelColumn: TypeAlias = Annotated[str, typer.Option(help="Your ratings' column of labels.")]
MinCount: TypeAlias = Annotated[
    int,
    typer.Option(min=1, help="Ratings that an id of yours needs to be in the vocabulary."),
]
Preset: TypeAlias = Annotated[
    str, typer.Option(help="How to train: tutorial, or accurate (a lower error, for longer).")
]
Epochs: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Passes over the training ratings.  [default: preset's]")
]
Seed: TypeAlias = Annotated[int, typer.Option(help="Of the split, weights and shuffling.")]
Strategy: TypeAlias = Annotated[
    str,
    typer.Option(
        help="tf.distribute's: none; mirrored, over GPUs or two halves of the processor; "
        "multiworker, over the workers that TF_CONFIG names."
    ),
]
Workers: TypeAlias = Annotated[
    int | None,
    typer.Option(min=1, help="With multiworker: start so many here, without TF_CONFIG."),
]
