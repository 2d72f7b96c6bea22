"""How files grow with the catalogue and the users: `python -m benchmarks.growth`."""

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks import apart, growth_document, made, record
from benchmarks.goals import Goal
from benchmarks.latency import Catalogue
from benchmarks.timing import Key, Task, Times, interleaved, summary
from export import console, runtime
from export.runtime import Session

BASE = 1664  # The tutorial's titles: what larger catalogues are compared with.
SIZES = (1000, 10_000, 100_000)
RUNTIMES = ("tflite-runtime", "litert")
RANKED = 1000
GIB = 2**30
EXAMPLES = """\b
Examples:
  python -m benchmarks.growth
  python -m benchmarks.growth --sizes 1000 --sizes 1000000 --rounds 3
"""


@dataclass(frozen=True)
class Made:
    """One kind's conversion: its files, processor seconds by stage, and peak memory."""

    kind: str
    size: int
    files: dict[str, str]
    seconds: dict[str, float]
    peak_bytes: int


@dataclass(frozen=True)
class Loaded:
    """One file in a new process: milliseconds to load, and resident bytes after the first score
    and after a score of every row.
    """

    file: str
    size: int
    runtime: str
    bytes: int
    load: Times
    resident: float
    touched: float


@dataclass(frozen=True)
class Growth:
    """Everything measured in one run."""

    made: list[Made]
    loaded: list[Loaded]
    times: dict[Key, Times]
    """`Key.candidates` is the size of the catalogue here."""

    def loading(self, file: str, size: int, runtime_name: str) -> Loaded:
        """One file's loading."""
        wanted = (file, size, runtime_name)
        return next(one for one in self.loaded if (one.file, one.size, one.runtime) == wanted)


def main(
    sizes: Annotated[
        list[int] | None,
        typer.Option(help="Users, and as many titles; may be repeated. 1000000 takes 20 minutes."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns that each measurement gets.")] = 7,
    files: Annotated[
        Path | None, typer.Option(help="Keep the made files here, and use those that are there.")
    ] = None,
    output: Annotated[Path, typer.Option(help="JSON with every number.")] = Path(
        "artifacts/growth.json"
    ),
    document: Annotated[Path, typer.Option(help="Markdown; the plot goes beside it.")] = Path(
        "docs/growth.md"
    ),
) -> None:
    """Measures size, loading, memory and speed as users and titles grow.

    Tables are random and titles made: nothing is trained.
    """
    chosen = sorted({BASE, *(sizes or SIZES)})
    with (
        console.quiet_libraries() as terminal,
        Progress(console=terminal) as progress,
        tempfile.TemporaryDirectory() as scratch,
    ):
        growth = _measure(chosen, rounds, files or Path(scratch), progress)
    reached = list(goals(growth, chosen[-1]))
    content = {
        "made": [asdict(one) for one in growth.made],
        "loaded": [asdict(one) for one in growth.loaded],
        "times": [{**asdict(key), **asdict(times)} for key, times in growth.times.items()],
        "goals": [{**asdict(goal), "met": goal.met} for goal in reached],
    }
    record.write(output, content)
    plot = document.with_suffix(".svg")
    growth_document.write(growth, reached, document, plot)
    Console().print(f"written: {output}, {document}, {plot}", soft_wrap=True)


def goals(growth: Growth, size: int) -> Iterator[Goal]:
    """The goals at the largest size; they are meant for a million."""

    def under(what: str, where: str, value: float, limit: float) -> Goal:
        return Goal(f"{what}, {size:,} titles", where, value, limit, False, f"{value:.3f}")

    for name in RUNTIMES:
        naive = growth.loading(made.NAIVE, size, name)
        ours = growth.loading("int8", size, name)
        if name == "litert":
            yield under("file, `int8` over naive", "file", ours.bytes / naive.bytes, 0.45)
            small = growth.loading("int4", size, name)
            yield under("file, `int4` over naive", "file", small.bytes / naive.bytes, 0.36)
        first = "resident after the first score, `int8` over naive"
        yield under(first, name, ours.resident / naive.resident, 0.68)
        every = "resident after a score of every row, `int8` over naive"
        yield under(every, name, ours.touched / naive.touched, 0.68)
        yield under("load, `int8` over naive", name, ours.load.median / naive.load.median, 1.0)
        large, base = (
            growth.times[Key("int8", name, "rank", count, "graph")] for count in (size, BASE)
        )
        # Both within one turn.
        value = float(np.median(np.array(large.rounds) / np.array(base.rounds)))
        yield under(f"`rank`, {RANKED:,}, over {BASE:,} titles", name, value, 1.3)
    for one in growth.made:
        if one.kind == made.OURS and one.size == size:
            yield under("conversion's peak, GiB", "process", one.peak_bytes / GIB, 8.0)
            yield under(
                "conversion, processor seconds", "process", sum(one.seconds.values()), 300.0
            )


def _measure(sizes: list[int], rounds: int, folder: Path, progress: Progress) -> Growth:
    folder.mkdir(parents=True, exist_ok=True)
    step = progress.add_task("conversions", total=len(sizes) * (len(made.KINDS) + 1))
    conversions, loaded = [], []
    for size in sizes:
        for kind in made.KINDS:
            conversions.append(_made(kind, size, folder))
            progress.advance(step)
    progress.update(step, description="loading")
    for size in sizes:
        files = {n: p for one in conversions if one.size == size for n, p in one.files.items()}
        loaded += _loaded(files, size, max(rounds // 2, 3))
        progress.advance(step)
    progress.update(step, description="times")
    return Growth(conversions, loaded, _times(conversions, rounds))


def _made(kind: str, size: int, folder: Path) -> Made:
    """Converts in a new process, unless it has been done before."""
    note = folder / f"{size}-{kind.replace(' ', '-')}.json"
    if not note.exists():
        note.write_text(apart.last_line("benchmarks.made", kind, str(size), str(folder)))
    return Made(kind=kind, size=size, **json.loads(note.read_text()))


def _catalogue(size: int) -> Catalogue:
    """The last user, and titles in an order that no cache likes."""
    titles = np.array([title.encode() for title in made.titles(size)], dtype=object)
    np.random.default_rng(0).shuffle(titles)
    return Catalogue(np.array([str(size).encode()], dtype=object), titles)


def _loaded(files: dict[str, str], size: int, rounds: int) -> list[Loaded]:
    """Loads each file by its path, so that it is mapped, in new processes that take turns."""
    inputs = _catalogue(size).inputs("score", 1)
    seconds: dict[tuple[str, str], list[Any]] = {}
    resident: dict[tuple[str, str], list[int]] = {}
    touched: dict[tuple[str, str], int] = {}
    for turn in range(rounds):
        for name in RUNTIMES:
            for file, path in files.items():
                with runtime.named(name).open(Path(path)) as session:
                    # The first call fills the hash tables: it belongs to loading.
                    first = session.open_seconds() + session.times("score", 1, **inputs)[0]
                    resident.setdefault((file, name), []).append(session.resident())
                    if turn == 0:
                        _score_every_row(session, size)
                        touched[file, name] = session.resident()
                seconds.setdefault((file, name), []).append(np.array([first * 1e3]))
    return [
        Loaded(
            file,
            size,
            name,
            Path(files[file]).stat().st_size,
            summary(times),
            float(np.median(resident[file, name])),
            float(touched[file, name]),
        )
        for (file, name), times in seconds.items()
    ]


def _score_every_row(session: Session, size: int) -> None:
    """A mapped file is resident where it has been read: each user's and each title's row here."""
    users, titles = made.users(size), made.titles(size)
    for start in range(0, size, RANKED):
        some = slice(start, start + RANKED)
        session.run("score", user_id=users[some], movie_title=titles[some])


def _times(conversions: list[Made], rounds: int) -> dict[Key, Times]:
    """`rank` of 1,000 and `recommend` by the catalogue's size; for naive files, `score`."""
    found: dict[Key, Times] = {}
    for name in RUNTIMES:
        with ExitStack() as stack:
            ranking, whole = [], []
            for one in conversions:
                if one.kind == made.LOOKUPS:
                    continue
                catalogue = _catalogue(one.size)
                for file, path in one.files.items():
                    session = stack.enter_context(runtime.named(name).open(Path(path)))
                    ranking.append(_task(file, one, session, catalogue, "rank", RANKED))
                    whole.append(_task(file, one, session, catalogue, "recommend", one.size))
            found |= interleaved(ranking, rounds) | interleaved(whole, 2)
    return found


def _task(
    file: str, one: Made, session: Session, catalogue: Catalogue, signature: str, candidates: int
) -> Task:
    key = Key(file, session.runtime.name, signature, one.size, "graph")
    real = signature if signature in session.signatures else "score"
    return Task(key, session, catalogue.inputs(real, candidates), real)


app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command(epilog=EXAMPLES)(main)

if __name__ == "__main__":
    sys.exit(app())
