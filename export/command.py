"""The export command at work: runs the pipeline, and tells its user what came of it."""

import typer
from rich.console import Console

from export import (
    agreement,
    console,
    conversion,
    cuts,
    oov,
    pipeline,
    publishing,
    report,
    runtime,
    selection,
    serving,
)
from model import data, presets

# What the user can mend: one line, exit code 2.
MENDABLE = (
    agreement.NoOrderError,
    conversion.ConversionError,
    cuts.CutError,
    data.RatingsError,
    oov.UnknownPolicyError,
    presets.UnknownPresetError,
    publishing.PublishingError,
    serving.ModelError,
)


def export(request: pipeline.Request, terminal: Console, quiet: bool) -> None:
    """Exports, and prints the closing table.

    Args:
        request: what was asked for.
        terminal: the real standard error.
        quiet: whether to print nothing but errors.

    Raises:
        typer.Exit: nothing was published: 1 where a limit is broken, 2 for wrong use.
    """
    try:
        with console.Stages(terminal, quiet) as stages:
            result = pipeline.run(request, stages)
    except MENDABLE as error:
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
        if result.cold_start:
            Console().print(report.cold_start_table(result.cold_start))
    if result.chosen is None:
        for reason in selection.reasons(result.attempts, request.wanted):
            terminal.print(f"not published: {reason}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if not quiet:
        Console().print(f"published {request.output_dir / 'ranker.tflite'}", soft_wrap=True)
