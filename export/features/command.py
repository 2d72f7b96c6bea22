"""The command line's way for models with named features; wires, no more."""

from collections.abc import Sequence

import typer
from rich.console import Console

from export import console, conversion, publishing, selection, serving
from export.features import card, pipeline, rows
from export.runtime import RuntimeFailure


def export(
    request: pipeline.Request, foreign: Sequence[str], terminal: Console, quiet: bool
) -> None:
    """Exports, and prints what came of it.

    Args:
        request: what to do.
        foreign: options given that are for the tutorial's model alone.
        terminal: on standard error.
        quiet: prints nothing but errors.

    Raises:
        typer.Exit: with 1 where a limit is broken, with 2 where the model, an option or the file
            of features is at fault.
    """
    if foreign:
        terminal.print(
            f"error: {request.model} is not the tutorial's model, which {', '.join(foreign)} is "
            "for: give rows of its features with --features",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(2)
    try:
        with console.Stages(terminal, quiet) as stages:
            result = pipeline.run(request, stages)
    except (
        serving.ModelError,
        rows.FeaturesError,
        publishing.PublishingError,
        conversion.ConversionError,
    ) as error:
        terminal.print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error
    except RuntimeFailure as error:
        terminal.print(f"not published: {error}", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    if not quiet:
        for attempt in result.attempts:
            Console().print(card.table(attempt.parity, result.float32_bytes))
    if result.chosen is None:
        for reason in selection.reasons(result.attempts, request.wanted):
            terminal.print(f"not published: {reason}", markup=False, soft_wrap=True)
        raise typer.Exit(1)
    if not quiet:
        Console().print(f"published {request.output_dir / 'ranker.tflite'}", soft_wrap=True)
