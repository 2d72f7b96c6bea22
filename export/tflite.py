"""The command line: `python -m export.tflite`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from export import console, quantization, runtime

EXAMPLES = """\b
Examples:
  python -m export.tflite
  python -m export.tflite --recipe float16 --output-dir build/half
  python -m export.tflite --recipe auto --max-bytes 200000 --min-ndcg 0.999
  python -m export.tflite --model trained/saved_model --runtime litert
  python -m export.tflite --ratings ~/Downloads/ml-100k.zip
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def fail(message: str, code: int) -> typer.Exit:
    """Prints one line of error and gives the exit to raise."""
    Console(stderr=True).print(f"error: {message}", markup=False, highlight=False, soft_wrap=True)
    return typer.Exit(code)


@app.command(epilog=EXAMPLES)
def main(
    output_dir: Annotated[
        Path, typer.Option(help="Folder for ranker.tflite, parity.json, golden.json.")
    ] = Path("artifacts"),
    recipe: Annotated[
        str,
        typer.Option(
            help=f"How numbers are stored: {', '.join(quantization.RECIPES)}; or auto, the "
            "smallest file that passes."
        ),
    ] = quantization.DEFAULT_RECIPE,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="With auto: the largest file wanted.")
    ] = None,
    min_ndcg: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="With auto: the least NDCG@10 against Keras's order."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A trained SavedModel folder; trains one where left out.")
    ] = None,
    ratings: Annotated[
        str, typer.Option(help="auto, embedded, or GroupLens's ml-100k.zip or folder.")
    ] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="TFDS's data directory.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training ratings.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the split, weights and shuffling.")] = 42,
    runtimes: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime", help="Prove on this runtime; may be repeated. Default: all installed."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Exports a ranking model to one proven .tflite file that takes string ids.

    Trains the TFRS tutorial's model on MovieLens 100k (or takes a trained one), converts it,
    applies a recipe, and publishes the file only if it ranks as Keras does on every runtime
    installed here. Exit codes: 0 published, 1 a limit of the gate is broken, 2 wrong use.
    """
    try:
        recipes = quantization.recipes_named(recipe)
        if recipe != quantization.AUTO and (max_bytes or min_ndcg is not None):
            raise fail("--max-bytes and --min-ndcg go with --recipe auto", 2)
        proven_on = tuple(runtime.named(name) for name in runtimes or ()) or runtime.installed()
    except (quantization.UnknownRecipeError, runtime.RuntimeUnavailableError) as error:
        raise fail(str(error), 2) from error
    with console.quiet_libraries() as terminal:
        # TensorFlow takes seconds to import, and writes while it does: not before it is needed.
        from export import conversion, pipeline, publishing, report, selection, serving
        from model import data

        wanted = selection.Wanted(max_bytes, min_ndcg)
        request = pipeline.Request(
            output_dir, recipes, wanted, model, ratings, data_dir, epochs, seed, proven_on
        )
        try:
            with console.Stages(terminal, quiet) as stages:
                result = pipeline.run(request, stages)
        except (
            data.RatingsError,
            serving.ModelError,
            publishing.PublishingError,
            conversion.ConversionError,
        ) as error:
            terminal.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from error
        except runtime.RuntimeFailure as error:
            terminal.print(f"not published: {error}", markup=False, soft_wrap=True)
            raise typer.Exit(1) from error
        if not quiet:
            for attempt in result.attempts:
                Console().print(report.table(attempt.parity, result.float32_bytes))
            if len(result.attempts) > 1:
                Console().print(report.frontier_table(result.attempts, result.chosen))
        if result.chosen is None:
            for reason in selection.reasons(result.attempts, wanted):
                terminal.print(f"not published: {reason}", markup=False, soft_wrap=True)
            raise typer.Exit(1)
    if not quiet:
        Console().print(f"published {output_dir / 'ranker.tflite'}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(app())
