"""The growth benchmark's Markdown and plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks import made, tables
from benchmarks.goals import Goal
from benchmarks.timing import Key
from export.runtime import named

if TYPE_CHECKING:
    from benchmarks.growth import Growth

FILES = (made.NAIVE, made.NAIVE_QUANTIZED, *made.RECIPES)
COLOURS = ("#8a94a3", "#d9822b", "#2f6fbf", "#2f9478", "#b05a8e")
PLOTTED = "litert"
MEGA = 1e6
MIB = 2**20


def write(growth: Growth, reached: Sequence[Goal], document: Path, plot: Path) -> None:
    """Writes both."""
    _plot(growth, plot)
    runtimes = list(dict.fromkeys(one.runtime for one in growth.loaded))
    stack = ", ".join(f"{n} {v}" for n, v in tables.versions(map(named, runtimes)).items())
    parts = [
        "# Growth\n",
        "Written by `python -m benchmarks.growth`; all of it from one run. As many users as "
        "titles; titles are made, tables random.\n",
        f"{tables.machine()}, one thread; {stack}.\n",
        f"![Size, loading, memory and speed by number of titles]({plot.name})\n",
        "Grey is the naive float32 file, orange `Optimize.DEFAULT` with one scale a table (and "
        "the look-ups' ids reshaped, without which it doesn't run). `look-ups alone` is a file "
        "with nothing but the two hash tables: the floor for whatever takes string ids.\n",
        f"## Goals at {max(one.size for one in growth.made):,} titles\n",
        "They are meant for a million: below that the process itself, 50 MiB, outweighs the "
        "files.\n",
        tables.goals_markdown(reached),
        "Files are opened by path, so they are mapped: a table's pages become resident as their "
        "rows are used, the naive file's too. After the first score nothing but the runtime's "
        "hash tables counts, which `look-ups alone` shows to be the floor: no file with string "
        "ids can have less. After a score of every row the tables count as well.\n",
    ]
    for runtime in runtimes:
        parts += [f"## {runtime}\n", _table(growth, runtime)]
    parts += ["## Conversion\n", _conversions(growth)]
    document.write_text("\n".join(parts))


def _table(growth: Growth, runtime: str) -> str:
    headings = (
        "file",
        "titles",
        "MB",
        "load, ms",
        "resident, MiB",
        "all rows, MiB",
        "`rank`, ms",
        "all, ms",
    )
    rows = []
    for one in growth.loaded:
        if one.runtime != runtime:
            continue
        cells = [
            f"{times.median:.3g}" if times else ""
            for times in (
                growth.times.get(Key(one.file, runtime, signature, one.size, "graph"))
                for signature in ("rank", "recommend")
            )
        ]
        rows.append(
            (
                one.file,
                f"{one.size:,}",
                f"{one.bytes / MEGA:.2f}",
                f"{one.load.median:.1f}",
                f"{one.resident / MIB:.0f}",
                f"{one.touched / MIB:.0f}",
                *cells,
            )
        )
    note = (
        "\n`rank` is of 1,000 candidates, and `all` is `recommend` over the whole catalogue; naive "
        "files `score` as many pairs instead. Loading ends with the first pair's score. Resident "
        "memory is the whole process's, Python and the runtime included: after the first score, "
        "and after a score of every user's and every title's row.\n"
    )
    return tables.markdown(headings, rows) + note


def _conversions(growth: Growth) -> str:
    rows = []
    for one in growth.made:
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in one.seconds.items())
        rows.append((one.kind, f"{one.size:,}", stages, f"{one.peak_bytes / 2**30:.2f}"))
    return tables.markdown(("file", "titles", "processor seconds", "peak, GiB"), rows)


def _plot(growth: Growth, path: Path) -> None:
    """Four panels for the newest runtime."""
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "growth",
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e3e7ed",
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "figure.constrained_layout.use": True,
    }
    panels: list[tuple[str, tuple[str, ...], Callable[[str, int], float]]] = [
        (
            "file, MB",
            (*FILES, made.LOOKUPS),
            lambda file, size: growth.loading(file, size, PLOTTED).bytes / MEGA,
        ),
        (
            "load and first score, ms",
            (*FILES, made.LOOKUPS),
            lambda file, size: growth.loading(file, size, PLOTTED).load.median,
        ),
        (
            "resident, MiB",
            (*FILES, made.LOOKUPS),
            lambda file, size: growth.loading(file, size, PLOTTED).resident / MIB,
        ),
        (
            "1,000 candidates, ms",
            FILES,
            lambda file, size: growth.times[Key(file, PLOTTED, "rank", size, "graph")].median,
        ),
    ]
    sizes = sorted({one.size for one in growth.made})
    with mpl.rc_context(style):
        figure = Figure(figsize=(9, 6))
        axes = figure.subplots(2, 2).reshape(-1)
        for axis, (title, files, value) in zip(axes, panels, strict=True):
            for file, colour in zip(files, COLOURS, strict=False):
                heights = [value(file, size) for size in sizes]
                axis.plot(sizes, heights, "o-", color=colour, label=file, markersize=4)
            axis.set(xscale="log", yscale="log", title=title, xlabel="users, and titles")
        axes[3].set(yscale="linear", ylim=(0, None))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        figure.patch.set_facecolor("white")  # A dark page shows it as a card.
        figure.savefig(path, metadata={"Date": None, "Creator": None})
