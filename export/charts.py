"""Charts for the report, as SVG that takes its colours from the page."""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter

from export.samples import Latency

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Drawn with stand-ins, which become the page's CSS variables: one picture suits light and dark.
INK, MUTED, GRID = "#010203", "#010204", "#010205"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215")
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)
}
_STYLE = {
    "svg.fonttype": "none",  # Text stays text: selectable, and in the page's own font.
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
}

POINTS = 1500
"""Points of a scatter: more make the page heavy, and the picture no clearer."""


def picture(
    name: str, label: str, size: tuple[float, float], draw: Callable[[Figure], None]
) -> str:
    """Draws one figure as an inline `<svg>`.

    Args:
        name: unique in the page; every id in the picture begins with it.
        label: what the picture shows, for those who can't see it.
        size: inches, 72 points each.
        draw: draws on the figure.
    """
    # Without pyplot, which would pick a backend for a screen and keep every figure.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size)
        FigureCanvasSVG(figure)
        draw(figure)
        output = io.StringIO()
        figure.savefig(output, format="svg", metadata={"Date": None, "Creator": None})
    svg = output.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", svg)
    # Matplotlib writes its whole list of fonts at every text: the page's own is meant.
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    width, height = (72 * inches for inches in size)
    return re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        rf'<svg id="{name}" role="img" aria-label="{label}" viewBox="\1" '
        f'width="{width:g}" height="{height:g}">',
        svg,
    )


def sizes(roles: Mapping[str, int], total: int, float32_bytes: int) -> str:
    """A stacked bar of the file's bytes by role, above the float32 file's whole size."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = 0
        for (role, count), colour in zip(roles.items(), SERIES, strict=False):
            share = f"{role}: {count / 1000:,.1f} kB ({count / total:.0%})"
            axes.barh(1, count, left=left, color=colour, height=0.55, label=share)
            left += count
        axes.barh(0, float32_bytes, color=GRID, height=0.55)
        for place, count, x in ((1, total, total), (0, float32_bytes, 0)):
            text = f"{count:,} bytes"
            axes.annotate(text, (x, place), (6, 0), textcoords="offset points", va="center")
        axes.set_yticks([1, 0], ["this file", "float32"])
        axes.tick_params("y", length=0, labelsize=10)
        axes.set_xlim(0, max(total * 1.25, float32_bytes * 1.02))
        axes.set_ylim(-0.45, 1.45)
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_formatter(EngFormatter("B"))
        figure.legend(loc="outside lower left", ncols=2, handlelength=1)

    label = f"Bytes by role, {total:,} in all, against {float32_bytes:,} as float32"
    return picture("figure-sizes", label, (9.2, 2.9), draw)


def errors(test: Float64, catalogue: Float64, limit: float) -> str:
    """Two histograms of signed errors: the test pairs' and the whole catalogue's."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2, sharex=True)
        reach = max(np.abs(test).max(), np.abs(catalogue).max())
        bins = np.linspace(-reach, reach, 61)
        panels = (("test ratings", test, SERIES[0]), ("the whole catalogue", catalogue, SERIES[1]))
        for axis, (title, values, colour) in zip(axes, panels, strict=True):
            axis.hist(values, bins, color=colour, weights=np.full(len(values), 100 / len(values)))
            axis.set_title(f"{title}, {len(values):,} pairs")
            axis.set_xlabel("TFLite less Keras, rating points")
            axis.axvline(0, color=MUTED, linewidth=0.8)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:g} %"))
        axes[0].set_ylabel("share of the pairs")

    label = f"Histograms of errors; the limit of the largest is {limit:g} rating points"
    return picture("figure-errors", label, (9.2, 3.0), draw)


def scatter(keras: Float32, tflite: Float32) -> str:
    """TFLite's test scores against Keras's, and their difference, which the first panel hides."""

    def draw(figure: Figure) -> None:
        random = np.random.default_rng(0)
        difference = tflite.astype(np.float64) - keras
        worst = np.argsort(-np.abs(difference), kind="stable")[: POINTS // 30]
        drawn = random.choice(len(keras), min(POINTS, len(keras)), replace=False)
        shown = np.union1d(drawn, worst)
        left, right = figure.subplots(1, 2)
        ends = [min(keras.min(), tflite.min()), max(keras.max(), tflite.max())]
        left.plot(ends, ends, color=MUTED, linewidth=0.8, zorder=1)
        right.axhline(0, color=MUTED, linewidth=0.8, zorder=1)
        panels = ((left, tflite, SERIES[0], "score"), (right, difference, SERIES[2], "difference"))
        for axis, values, colour, title in panels:
            style = {"markersize": 2.4, "alpha": 0.55, "markeredgewidth": 0}
            axis.plot(keras[shown], values[shown], "o", color=colour, **style)
            axis.set_xlabel("Keras, rating points")
            axis.set_title(f"TFLite's {title}")

    count = min(POINTS, len(keras))
    label = f"TFLite against Keras, {count} pairs drawn at random and the worst ones"
    return picture("figure-scatter", label, (9.2, 3.4), draw)


def agreement(kendall_tau: Float64, ndcg: Float64) -> str:
    """Histograms of the users' rank agreement over the catalogue."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(1, 2)
        panels = (("Kendall tau-b", kendall_tau, SERIES[0]), ("1 − NDCG@10", 1 - ndcg, SERIES[1]))
        for axis, (title, values, colour) in zip(axes, panels, strict=True):
            axis.hist(values, _bins(values), color=colour)
            axis.set_title(f"{title}, mean {values.mean():.3g}")
            axis.set_ylabel("users")
            axis.ticklabel_format(axis="x", useOffset=False, scilimits=(-3, 3))
            axis.locator_params(axis="x", nbins=6)

    label = f"Histograms of rank agreement with Keras for {len(ndcg)} users"
    return picture("figure-agreement", label, (9.2, 2.8), draw)


def latency(latencies: Sequence[Latency]) -> str:
    """Times by number of candidates, a panel a signature and a line a runtime."""

    def draw(figure: Figure) -> None:
        signatures = list(dict.fromkeys(one.signature for one in latencies))
        runtimes = list(dict.fromkeys(one.runtime for one in latencies))
        axes = figure.subplots(1, len(signatures), sharey=True, squeeze=False)[0]
        for axis, signature in zip(axes, signatures, strict=True):
            for runtime, colour in zip(runtimes, SERIES, strict=False):
                rows = [o for o in latencies if (o.signature, o.runtime) == (signature, runtime)]
                x = [one.candidates for one in rows]
                low, high = [one.low for one in rows], [one.high for one in rows]
                axis.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
                median = [one.median for one in rows]
                axis.plot(x, median, "o-", color=colour, markersize=4, label=runtime)
            axis.set(xscale="log", yscale="log", title=signature, xlabel="candidates")
            axis.xaxis.set_major_formatter(FuncFormatter(_plain))
            axis.yaxis.set_major_formatter(FuncFormatter(_plain))
            axis.minorticks_off()
        axes[0].set_ylabel("milliseconds")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(runtimes))

    return picture("figure-latency", "Latency by number of candidates", (9.2, 3.4), draw)


def frontier(points: Sequence[tuple[str, int, float, float]]) -> str:
    """Recipes by size, with latency on one panel and agreement on the other.

    Args:
        points: name, bytes, milliseconds and NDCG@10 of each.
    """

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2)
        for axis, place, title in ((panels[0], 2, "rank, milliseconds"), (panels[1], 3, "NDCG@10")):
            for point, colour in zip(points, SERIES, strict=False):
                axis.plot(point[1], point[place], "o", color=colour, label=point[0])
            axis.set(title=title, xlabel="bytes")
            axis.xaxis.set_major_formatter(EngFormatter("B"))
            axis.ticklabel_format(axis="y", useOffset=False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=len(points))

    return picture("figure-frontier", "Recipes by size, latency and agreement", (9.2, 3.2), draw)


def _plain(value: float, position: Any) -> str:
    return f"{value:,g}"


def _bins(values: Float64) -> Float64:
    """Forty bins over the values; a little room where they are all the same."""
    low, high = float(values.min()), float(values.max())
    if high - low < 1e-12:
        low, high = low - 1e-6, high + 1e-6
    return np.linspace(low, high, 41)
