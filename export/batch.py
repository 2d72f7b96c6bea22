"""Bulk scoring from the command line: `python -m export.batch`."""

import hashlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from export import console, flatbuffer, metadata, runtime
from export.tflite import fail
from model import progress

if TYPE_CHECKING:
    from export.beam import Job
    from export.bulk import Inputs, Summary
    from export.gate import Limits

DIRECT_RUNNER = "DirectRunner"
EXAMPLES = """\b
Examples:
  python -m export.batch --input 'ratings-*.parquet' --model ranker.tflite --output scores/
  python -m export.batch --input 'pairs/*.parquet' --model ranker.tflite --output scores/ \\
      --workers 2 --parity trained/saved_model --label-column user_rating
  python -m export.batch --input 'gs://data/pairs-*' --model gs://data/ranker.tflite \\
      --output gs://data/scores --runner FlinkRunner -- --flink_master=host:8081 \\
      --environment_type=DOCKER --environment_config=registry/ranker:1.0
"""

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(
    epilog=EXAMPLES,
    context_settings={"allow_extra_args": True, "allow_interspersed_args": False},
)
def main(
    context: typer.Context,
    input_glob: Annotated[str, typer.Option("--input", help="Parquet files, as a glob.")],
    model: Annotated[str, typer.Option(help="The .tflite file.")],
    output: Annotated[str, typer.Option(help="Folder for scores, dead letters, summary.json.")],
    runner: Annotated[str, typer.Option(help="Beam's runner.")] = DIRECT_RUNNER,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes of the DirectRunner; others have their own flags.")
    ] = 1,
    user_column: Annotated[str, typer.Option(help="Column of user ids.")] = "user_id",
    item_column: Annotated[str, typer.Option(help="Column of candidate ids.")] = "movie_title",
    score_column: Annotated[str, typer.Option(help="Column to be added.")] = "score",
    block_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows scored at once, at most.")
    ] = None,
    runtime_name: Annotated[
        str, typer.Option("--runtime", help=f"One of {', '.join(runtime.RUNTIMES)}.")
    ] = "litert",
    parity: Annotated[
        Path | None,
        typer.Option(help="A trained SavedModel: score with Keras too, and hold to the limits."),
    ] = None,
    label_column: Annotated[
        str | None, typer.Option(help="With parity: true ratings, for both RMSEs.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="With parity: whose limits; the file's own where it says so."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
) -> None:
    """Scores Parquet files of (user, candidate) pairs in bulk, on any Apache Beam runner.

    All columns pass through and the score comes as one more. Rows that can't be scored go to
    dead-letters-*.parquet with the reason. Beam's own flags go after `--`. Exit codes: 0 every
    row is accounted for, 1 rows are lost or a limit of parity is broken, 2 wrong use.
    """
    if importlib.util.find_spec("apache_beam") is None:
        raise fail("this needs Apache Beam: pip install 'ranking-exporter[beam]'", 2)
    if workers > 1 and runner != DIRECT_RUNNER:
        raise fail(f"--workers is the {DIRECT_RUNNER}'s: give {runner}'s own flags after --", 2)
    if parity is None and (label_column or recipe):
        raise fail("--label-column and --recipe go with --parity", 2)
    with console.quiet_libraries() as terminal:
        # Beam takes seconds to import, and writes while it does: not before it is needed.
        from export import beam, blocks, bulk

        try:
            with progress.Stages(terminal, quiet) as stages:
                stages("reading the footers")
                asked = beam.Job(
                    bulk.absolute(input_glob),
                    bulk.absolute(output),
                    bulk.absolute(model),
                    runtime_name,
                    blocks.Columns(user_column, item_column, score_column),
                    block_rows or beam.BLOCK_ROWS,
                    None if parity is None else str(parity.absolute()),
                    label_column,
                )
                inputs, content, limits = _checked(asked, recipe)
                flags = [f"--runner={runner}", *_direct(runner, workers), *context.args]
                stages(f"scoring {inputs.rows:,} rows of {inputs.files:,} files with {runner}")
                start = time.perf_counter()
                summary = bulk.run(asked, inputs, flags)
                seconds = time.perf_counter() - start
        except (
            bulk.BulkError,
            blocks.ColumnError,
            flatbuffer.FlatbufferError,
            runtime.RuntimeUnavailableError,
            runtime.RuntimeFailure,
        ) as error:
            raise console.failed(terminal, f"error: {error}", 2) from error
        problems = [f"rows are lost: {loss}" for loss in summary.losses()]
        if limits is not None and summary.parity is not None:
            problems += [str(breach) for breach in bulk.breaches(summary.parity, limits)]
        facts: dict[str, Any] = {
            "input": asked.input,
            "model": asked.model,
            "model_sha256": hashlib.sha256(content).hexdigest(),
            "runtime": runtime_name,
            "runner": runner,
            "workers": workers,
            "seconds": seconds,
            "problems": problems,
        }
        bulk.publish(asked.output, summary, facts)
        if not quiet:
            Console().print(_table(summary, seconds))
        for problem in problems:
            terminal.print(f"failed: {problem}", markup=False, highlight=False, soft_wrap=True)
        if problems:
            raise typer.Exit(1)


def _direct(runner: str, workers: int) -> list[str]:
    if runner != DIRECT_RUNNER or workers == 1:
        return []
    return [f"--direct_num_workers={workers}", "--direct_running_mode=multi_processing"]


def _checked(asked: "Job", recipe: str | None) -> "tuple[Inputs, bytes, Limits | None]":
    """Everything that can be wrong with a job before it is spread over workers.

    Returns:
        Its inputs, the model's bytes, and the limits of parity where that is asked for.
    """
    from export import blocks, bulk

    inputs = bulk.inspect(asked.input)
    blocks.check_schema(inputs.schema, asked.columns)
    _check_label(inputs.schema, asked.label)
    bulk.check_output(asked.output)
    content = bulk.read(asked.model)
    _try(content, asked.runtime)
    limits = None if asked.keras is None else _limits(content, recipe, Path(asked.keras))
    return inputs, content, limits


def _check_label(schema: Any, label: str | None) -> None:
    import pyarrow.types

    from export import blocks

    if label is None:
        return
    if label not in schema.names:
        raise blocks.ColumnError(f"no column {label!r}: there are {', '.join(schema.names)}")
    kind = schema.field(label).type
    if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind)):
        raise blocks.ColumnError(f"column {label!r} is {kind}: true ratings are numbers")


def _try(content: bytes, runtime_name: str) -> None:
    """Scores one pair, before the job is spread over workers that would all fail alike.

    Raises:
        RuntimeFailure, RuntimeUnavailableError, FlatbufferError: it can't be scored with.
    """
    flatbuffer.read(content)
    with runtime.named(runtime_name).open(content) as session:
        session.run("score", user_id=["1"], movie_title=["1"])


def _limits(content: bytes, recipe: str | None, saved_model: Path) -> "Limits":
    from export import bulk, gate

    if not (saved_model / "saved_model.pb").is_file():
        raise bulk.BulkError(
            f"{saved_model} is not a SavedModel folder: make one with "
            "`python -m model.train --output DIR`, then give DIR/saved_model"
        )
    try:
        name = recipe or str(metadata.read(content)["recipe"])
    except metadata.MetadataError as error:
        raise bulk.BulkError(f"{error}: say whose limits with --recipe") from error
    if name not in gate.LIMITS:
        raise bulk.BulkError(f"unknown recipe {name!r}: choose from {', '.join(gate.LIMITS)}")
    return gate.LIMITS[name]


def _table(summary: "Summary", seconds: float) -> Table:
    from export import bulk

    table = Table(box=None, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()

    def row(name: str, value: str, note: str = "") -> None:
        table.add_row(name, value, note)

    scored = max(summary.scored, 1)
    row("rows", f"{summary.rows:,}", f"{summary.rows / seconds:,.0f} a second")
    row("scored", f"{summary.scored:,}")
    row("unknown users", f"{summary.unknown_users:,}", f"{summary.unknown_users / scored:.2%}")
    share = summary.unknown_candidates / scored
    row("unknown candidates", f"{summary.unknown_candidates:,}", f"{share:.2%}")
    row("dead letters", f"{sum(summary.dead_letters.values()):,}")
    for fault, count in summary.dead_letters.items():
        row(f"  {fault}", f"{count:,}")
    if summary.parity is not None:
        total = summary.parity
        row("largest error against Keras", f"{total.max_abs:.2e}")
        row("mean error", f"{total.sum_abs / max(total.rows, 1):.2e}")
        if total.labels:
            file, keras = bulk.rmse(total)
            row("RMSE", f"{file:.5f}", f"Keras's {keras:.5f}, {total.labels:,} ratings")
    return table


if __name__ == "__main__":
    sys.exit(app())
