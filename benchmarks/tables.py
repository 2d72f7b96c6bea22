"""The benchmarks' Markdown."""

from __future__ import annotations

import importlib.metadata
import itertools
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from benchmarks import contenders, goals, yardsticks
from benchmarks.profile import OpTime
from benchmarks.timing import Key, Times, ratio
from export.runtime import Runtime, named

if TYPE_CHECKING:
    from benchmarks.latency import Results

GIGA = 1e9


def machine() -> str:
    """The processor's name, and what it can do that matters here."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    values = {name.strip(): value.strip() for name, value in fields.items()}
    flags = values.get("flags", "").split()
    known = [f for f in ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni") if f in flags]
    return f"{values.get('model name', platform.machine())} ({', '.join(known)})"


def versions(runtimes: Iterable[Runtime]) -> dict[str, str]:
    """Of everything that is timed."""
    names = ("tensorflow", "numpy", "ai-edge-quantizer")
    found = {name: importlib.metadata.version(name) for name in names}
    return found | {one.name: one.version for one in runtimes}


def markdown(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; the first column is text, the others numbers."""
    marks = ["---", *["--:"] * (len(headings) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, marks, *rows)) + "\n"


def goals_table(reached: Sequence[goals.Goal]) -> Table:
    """For the terminal."""
    table = Table("goal", "where", "measured", "limit", "met")
    for goal in reached:
        table.add_row(*_goal_row(goal))
    return table


def _goal_row(goal: goals.Goal) -> list[str]:
    sign = "≥" if goal.least else "≤"
    met = "met" if goal.met else "**not met**"
    return [goal.what, goal.where, goal.spread, f"{sign} {goal.limit:g}", met]


def goals_markdown(reached: Sequence[goals.Goal]) -> str:
    """For a document."""
    return markdown(("goal", "where", "measured", "limit", ""), map(_goal_row, reached))


WHY = """\
- `score` is slower by the ADD of two halves of the first layer, which `rank` and `recommend` share
  with it ([decision 0004](decisions/0004-one-first-layer.md)); units that scores don't need are
  left out, which saves more ([decision 0018](decisions/0018-stable-units.md); `int8, all units` is
  the same file with them).
- `rank` at 10,000 candidates, over the limit of the layers in the file: a fifth of the time goes to
  TOPK_V2, which sorts them all, a tenth to hashing titles, and a sixth to the ADD, whose operands
  no longer fit in the second-level cache. The limit counts none of these, and what it does count is
  a third of what it is for the layers as trained.
- Cold start: three signatures' graphs are read and given to the delegate where the naive file has
  one, and rows and weights are widened. Filling the hash tables takes three quarters of the naive
  file's instructions (counted with callgrind), and as many here: in the rest more ops can't hide.
  `int8, score alone` shows what the other two signatures' graphs add.
"""


def latency_document(
    results: Results, reached: Sequence[goals.Goal], runtimes: Sequence[str]
) -> str:
    """`docs/benchmarks.md`, whole."""
    stack = ", ".join(f"{n} {v}" for n, v in versions(map(named, runtimes)).items())
    parts = [
        "# Benchmarks\n",
        "Written by `python -m benchmarks.latency`; all of it from one run.\n",
        f"{machine()}, one thread; {stack}.\n",
        "Each file runs in a process of its own, and all take turns, call by call, so a busy "
        "moment slows them alike. Ratios are taken within each turn: the median, and the quartiles "
        "in brackets. Compare nothing but ratios with another machine's.\n",
        "## Goals\n",
        "Judged on the graph's own time (Invoke). The Python classes convert strings one by one "
        "on the way in, which costs every file the same and would hide differences.\n",
        goals_markdown(reached),
        "## Size\n",
        _sizes(results),
    ]
    for runtime in runtimes:
        parts += [f"## Graph alone, {runtime}, milliseconds\n", _times(results, runtime)]
    parts += [
        "## Whole Python call, `score`, milliseconds\n",
        "With the conversion of the strings, beside Keras's `predict` and the SavedModel's "
        "function, both on one thread.\n",
        _calls(results),
        "## Cold start\n",
        "From opening the file by its path to the first pair's score, in a new process each time; "
        "the import of the runtime is left out.\n",
        _starts(results),
        "## The machine's limit\n",
        _limit(results),
        "## Where the time goes, and why goals are missed\n",
        "Neither Python class has a profiler: each line is the time of the graph cut after that "
        "op, less the line before, of the least disturbed turn, in milliseconds. XNNPACK joins "
        "ops, and a cut makes it write what it would have kept: lines below zero mean no more than "
        "that. Ops of less than a hundredth of the whole stand together.\n",
        WHY,
    ]
    for one in results.profiles:
        title = f"{one.file}, `{one.signature}`, {one.candidates:,}, {one.runtime}"
        rows = [(op, f"{upto:.3f}", f"{alone:+.3f}") for op, upto, alone in _merged(one.ops)]
        parts += [f"### {title}\n", markdown(("op", "up to here", "this op"), rows)]
    return "\n".join(parts)


def _merged(ops: list[OpTime]) -> Iterator[tuple[str, float, float]]:
    """The ops' names, times up to them and of their own; neighbours that hardly count as one."""
    least = max((op.upto for op in ops), default=0.0) / 100
    for small, group in itertools.groupby(ops, key=lambda op: abs(op.alone) < least):
        run = list(group)
        if small and len(run) > 1:
            yield f"{len(run)} others", run[-1].upto, sum(op.alone for op in run)
        else:
            yield from ((f"`{op.op}`", op.upto, op.alone) for op in run)


def _sizes(results: Results) -> str:
    naive = results.sizes[contenders.NAIVE]
    rows = []
    for file, size in results.sizes.items():
        failed = [f"{r}: {why}" for (f, r), why in results.failures.items() if f == file]
        ndcg = f"{results.ndcg[file]:.6f}" if file in results.ndcg else ""
        state = "; ".join(failed).replace("|", "/").replace("\n", " ") or "runs everywhere"
        rows.append((file, f"{size:,}", f"{size / naive:.3f}", ndcg, state))
    headings = ("file", "bytes", "over naive", "NDCG@10", "runs")
    return markdown(headings, rows)


def _cell(times: Times | None) -> str:
    return f"{times.median:.3g} ({times.low:.3g}–{times.high:.3g})" if times else ""


def _times(results: Results, runtime: str) -> str:
    mine = {k: t for k, t in results.times.items() if k.runtime == runtime and k.kind == "graph"}
    columns = sorted({key.candidates for key in mine})
    rows = []
    for signature in ("score", "rank", "recommend"):
        for file in dict.fromkeys(key.file for key in mine if key.signature == signature):
            keys = [Key(file, runtime, signature, count, "graph") for count in columns]
            rows.append((f"`{signature}`, {file}", *(_cell(mine.get(key)) for key in keys)))
    return markdown(("candidates", *(f"{count:,}" for count in columns)), rows)


def _calls(results: Results) -> str:
    mine = {key: t for key, t in results.times.items() if key.kind == "call"}
    mine = {key: t for key, t in mine.items() if key.runtime != yardsticks.MACHINE.name}
    columns = sorted({key.candidates for key in mine})
    rows = []
    for file, runtime, signature in dict.fromkeys((k.file, k.runtime, k.signature) for k in mine):
        keys = [Key(file, runtime, signature, count, "call") for count in columns]
        rows.append((f"{file}, {runtime}", *(_cell(mine.get(key)) for key in keys)))
    return markdown(("candidates", *(f"{count:,}" for count in columns)), rows)


def _starts(results: Results) -> str:
    rows = []
    for (file, runtime), times in results.starts.items():
        against = ratio(times, results.starts[contenders.NAIVE, runtime])
        rows.append((file, runtime, _cell(times), str(against)))
    return markdown(("file", "runtime", "milliseconds", "over naive float32"), rows)


def _limit(results: Results) -> str:
    key = Key(yardsticks.SGEMM, "machine", yardsticks.SGEMM, goals.LIMIT_CANDIDATES, "call")
    copy = Key(yardsticks.COPY, "machine", yardsticks.COPY, goals.LIMIT_CANDIDATES, "call")
    rows, inner, columns = goals.LIMIT_SHAPE
    rate = rows * inner * columns / (results.times[key].median / 1e3) / GIGA
    speed = 2 * yardsticks.COPY_BYTES / (results.times[copy].median / 1e3) / GIGA
    moved = results.limits[0].work.moved
    needed = ", ".join(
        f"with the layers {one.what} {one.work.macs / 1e6:,.0f} million multiply-adds "
        f"({one.milliseconds:.2f} ms at best)"
        for one in results.limits
    )
    return (
        f"NumPy's float32 product of two {rows:,} × {inner:,} matrices reaches {rate:.1f} billion "
        f"multiply-adds a second, a copy of {yardsticks.COPY_BYTES // 2**20} MiB {speed:.1f} GB/s "
        f"(read and written). Ranking {goals.LIMIT_CANDIDATES:,} candidates moves "
        f"{moved / 1e6:.2f} MB of ids, rows, scores and order, and takes {needed}. What lies "
        "between the layers is not counted, since it could stay in registers, nor are hashing and "
        "sorting.\n"
    )
