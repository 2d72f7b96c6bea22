"""Command-line options of the export."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from export import quantization

OutputDir: TypeAlias = Annotated[
    Path, typer.Option(help="Folder for ranker.tflite, parity.json, golden.json.")
]
Recipe: TypeAlias = Annotated[
    str,
    typer.Option(
        help=f"How numbers are stored: {', '.join(quantization.RECIPES)}; or auto, the "
        "smallest file that passes."
    ),
]
MaxBytes: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="With auto: the largest file wanted.")
]
MinNdcg: TypeAlias = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="With auto: the least NDCG@10 against Keras's order."),
]
Model: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="A trained model: a SavedModel folder, or a .keras or .h5 file. Trains one where "
        "left out."
    ),
]
Features: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="For a model that is not the tutorial's: Parquet or CSV rows of its features to "
        "measure on. Default: rows made of what the model knows."
    ),
]
GroupBy: TypeAlias = Annotated[
    str | None, typer.Option(help="The column of --features whose rows are ranked together.")
]
Oov: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What unknown ids score by: trained (the row as it is), mean (of all rows), or "
        "popularity (weighted by ratings). Where named, all three are compared on ids held out.  "
        "[default: trained]"
    ),
]
Users: TypeAlias = Annotated[
    str | None,
    typer.Option(help="Keep these users alone: a file with an id a line, top:N, or none."),
]
Items: TypeAlias = Annotated[
    str | None, typer.Option(help="Keep these items alone: a file with an id a line, or top:N.")
]
KeepUnits: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--keep-units",
        help="Keep hidden units that scores of the known ids don't need: for a file whose tables "
        "will be changed.",
    ),
]
Runtimes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--runtime", help="Prove on this runtime; may be repeated. Default: all installed."
    ),
]
Quiet: TypeAlias = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
