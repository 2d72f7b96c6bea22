"""The command line: `python -m export.tflite`."""

import sys
from pathlib import Path

import typer
from rich.console import Console

from export import console, options, quantization, runtime
from model import options as training_options

EXAMPLES = """\b
Examples:
  python -m export.tflite
  python -m export.tflite --recipe float16 --output-dir build/half
  python -m export.tflite --recipe auto --max-bytes 200000 --min-ndcg 0.999
  python -m export.tflite --model trained/saved_model --runtime litert
  python -m export.tflite --ratings ~/Downloads/ml-100k.zip
  python -m export.tflite --ratings 'plays/*.parquet' --user-column listener
    --item-column track --label-column seconds --min-count 5
  python -m export.tflite --preset accurate --oov mean --users none --items top:1000
  python -m export.tflite --model any/saved_model --features rows.parquet --group-by user_id
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


def fail(message: str, code: int) -> typer.Exit:
    """Prints one line of error and gives the exit to raise."""
    return console.failed(Console(stderr=True), f"error: {message}", code)


@app.command(epilog=EXAMPLES)
def main(
    output_dir: options.OutputDir = Path("artifacts"),
    recipe: options.Recipe = quantization.DEFAULT_RECIPE,
    max_bytes: options.MaxBytes = None,
    min_ndcg: options.MinNdcg = None,
    model: options.Model = None,
    features: options.Features = None,
    group_by: options.GroupBy = None,
    ratings: training_options.Ratings = "auto",
    user_column: training_options.UserColumn = "user_id",
    item_column: training_options.ItemColumn = "movie_title",
    label_column: training_options.LabelColumn = "user_rating",
    min_count: training_options.MinCount = 1,
    data_dir: training_options.DataDir = None,
    preset: training_options.Preset = "tutorial",
    epochs: training_options.Epochs = None,
    seed: training_options.Seed = 42,
    oov: options.Oov = None,
    users: options.Users = None,
    items: options.Items = None,
    keep_units: options.KeepUnits = False,
    runtimes: options.Runtimes = None,
    quiet: options.Quiet = False,
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
        if (features and not model) or (group_by and not features):
            raise fail("--features goes with --model, and --group-by with --features", 2)
        if model and not model.exists():
            raise fail(f"no such model: {model}: make one with `python -m model.train`", 2)
        proven_on = tuple(runtime.named(name) for name in runtimes or ()) or runtime.installed()
    except (quantization.UnknownRecipeError, runtime.RuntimeUnavailableError) as error:
        raise fail(str(error), 2) from error
    with console.quiet_libraries() as terminal:
        # TensorFlow takes seconds to import, and writes while it does: not before it is needed.
        from export import command, cuts, pipeline, selection
        from export.features import pipeline as feature_pipeline
        from export.oov import check
        from model import data, presets

        wanted = selection.Wanted(max_bytes, min_ndcg)
        if model is not None and feature_pipeline.is_general(model):
            general = feature_pipeline.Request(
                output_dir, recipes, wanted, model, features, group_by, proven_on
            )
            given = {
                "--ratings": ratings != "auto",
                "--oov": oov,
                "--users": users,
                "--items": items,
                "--keep-units": keep_units,
            }
            command.export_features(general, [o for o in given if given[o]], terminal, quiet)
            return
        if features:
            message = "error: --features is for models that are not the tutorial's: --ratings"
            raise console.failed(terminal, message, 2)
        try:
            request = pipeline.Request(
                output_dir=output_dir,
                recipes=recipes,
                wanted=wanted,
                saved_model=model,
                ratings=ratings,
                data_dir=data_dir,
                epochs=epochs,
                seed=seed,
                runtimes=proven_on,
                names=data.ColumnNames(user_column, item_column, label_column),
                min_count=min_count,
                preset=presets.named(preset),
                oov=oov and check(oov),
                users=cuts.parse(users, "--users", may_be_none=True),
                items=cuts.parse(items, "--items", may_be_none=False),
                keep_units=keep_units,
            )
        except command.MENDABLE as error:
            raise console.failed(terminal, f"error: {error}", 2) from error
        command.export_ranker(request, terminal, quiet)


if __name__ == "__main__":
    sys.exit(app())
