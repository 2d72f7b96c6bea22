"""The export command at work: runs a pipeline, and tells its user what came of it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from rich.console import Console
from rich.table import Table

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
from export.features import card, rows
from export.features import pipeline as features
from model import data, presets, progress

# What the user can mend: one line, exit code 2.
MENDABLE = (
    agreement.NoOrderError,
    conversion.ConversionError,
    cuts.CutError,
    data.RatingsError,
    oov.UnknownPolicyError,
    presets.UnknownPresetError,
    publishing.PublishingError,
    rows.FeaturesError,
    serving.ModelError,
)


class _Request(Protocol):
    @property
    def output_dir(self) -> Path: ...

    @property
    def wanted(self) -> selection.Wanted: ...


class _Result(Protocol):
    @property
    def attempts(self) -> Sequence[selection.Measured]: ...

    @property
    def chosen(self) -> selection.Measured | None: ...


Request = TypeVar("Request", bound=_Request)
Result = TypeVar("Result", bound=_Result)


def export_ranker(request: pipeline.Request, terminal: Console, quiet: bool) -> None:
    """Exports a ranker of the tutorial's parts; as for `_export`."""
    _export(request, pipeline.run, _ranker_tables, terminal, quiet)


def export_features(
    request: features.Request, foreign: Sequence[str], terminal: Console, quiet: bool
) -> None:
    """Exports a model with named features; as for `_export`.

    Args:
        request: what to do.
        foreign: options given that are for the tutorial's model alone.
        terminal: the real standard error.
        quiet: whether to print nothing but errors.
    """
    if foreign:
        raise console.failed(
            terminal,
            f"error: {request.model} is not the tutorial's model, which {', '.join(foreign)} is "
            "for: give rows of its features with --features",
            2,
        )
    _export(request, features.run, _feature_tables, terminal, quiet)


def _ranker_tables(result: pipeline.Result) -> Iterator[Table]:
    for attempt in result.attempts:
        yield report.table(attempt.parity, result.float32_bytes)
    if len(result.attempts) > 1:
        yield report.frontier_table(result.attempts, result.chosen)
    if result.cold_start:
        yield report.cold_start_table(result.cold_start)


def _feature_tables(result: features.Result) -> Iterator[Table]:
    for attempt in result.attempts:
        yield card.table(attempt.parity, result.float32_bytes)


def _export(
    request: Request,
    run: Callable[[Request, pipeline.Progress], Result],
    tables: Callable[[Result], Iterator[Table]],
    terminal: Console,
    quiet: bool,
) -> None:
    """Runs a pipeline, and prints the closing tables.

    Args:
        request: what was asked for.
        run: the pipeline.
        tables: what to print of its result.
        terminal: the real standard error.
        quiet: whether to print nothing but errors.

    Raises:
        typer.Exit: nothing was published: 1 where a limit is broken, 2 for wrong use.
    """
    try:
        with progress.Stages(terminal, quiet) as stages:
            result = run(request, stages)
    except MENDABLE as error:
        raise console.failed(terminal, f"error: {error}", 2) from error
    except runtime.RuntimeFailure as error:
        raise console.failed(terminal, f"not published: {error}", 1) from error
    if not quiet:
        for table in tables(result):
            Console().print(table)
    if result.chosen is None:
        reasons = selection.reasons(result.attempts, request.wanted)
        raise console.failed(
            terminal, "\n".join(f"not published: {reason}" for reason in reasons), 1
        )
    if not quiet:
        Console().print(f"published {request.output_dir / 'ranker.tflite'}", soft_wrap=True)
