"""Size, speed and ranking of each file: `python -m benchmarks.latency`."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks import contenders, goals, profile, record, tables, yardsticks
from benchmarks.contenders import Contender
from benchmarks.timing import Key, Kind, Task, Times, interleaved, summary
from export import console, reference, runtime, samples, serving, stable_units
from export.agreement import agreement
from export.runtime import RuntimeFailure, Session
from model import data, train

Ids = npt.NDArray[np.object_]

SIZES = (1, 10, 100, 1000, 10_000)
RUNTIMES = ("tflite-runtime", "litert")
TOP = 10
# In each round: a start can't be repeated in its process, and varies by a tenth.
STARTS = 3
# What the goals compare, and the one that the machine's limit is for.
PROFILED = (
    (contenders.NAIVE, "score", 1000),
    (goals.DEFAULT, "score", 1000),
    (goals.DEFAULT, "rank", 1000),
    (goals.DEFAULT, "recommend", 1664),
    (goals.DEFAULT, "rank", 10_000),
)
EXAMPLES = """\b
Examples:
  python -m benchmarks.latency
  python -m benchmarks.latency --rounds 3 --model artifacts/trained/saved_model
"""


@dataclass(frozen=True)
class Catalogue:
    """Whom and what is ranked."""

    user: Ids
    titles: Ids

    def inputs(self, signature: str, candidates: int) -> dict[str, Any]:
        """Inputs of a signature, or of a yardstick, for so many candidates."""
        if signature == "recommend":
            count, nothing = np.array([TOP], np.int32), np.array([b""], object)
            return {serving.USER: self.user, serving.COUNT: count, serving.SEEN: nothing}
        users = self.user if signature == "rank" else np.repeat(self.user, candidates)
        return {serving.USER: users, serving.CANDIDATE: np.resize(self.titles, candidates)}


@dataclass(frozen=True)
class Results:
    """Everything measured in one run."""

    sizes: dict[str, int]
    times: dict[Key, Times]
    starts: dict[tuple[str, str], Times]
    failures: dict[tuple[str, str], str]
    limits: list[goals.Limit]
    ndcg: dict[str, float]
    profiles: list[profile.Profile]
    titles: int


def main(
    model: Annotated[
        Path | None, typer.Option(help="A trained SavedModel folder; trains one where left out.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=2, help="Turns that each measurement gets.")] = 15,
    output: Annotated[Path, typer.Option(help="JSON with every number.")] = Path(
        "artifacts/benchmarks.json"
    ),
    document: Annotated[Path, typer.Option(help="Markdown with the tables.")] = Path(
        "docs/benchmarks.md"
    ),
) -> None:
    """Measures the exporter's files against other conversions and the machine's limit.

    All measurements that are compared take turns in one run, one thread each; the goals are
    ratios. Needs about ten minutes.
    """
    with (
        console.quiet_libraries() as terminal,
        Progress(console=terminal) as progress,
        tempfile.TemporaryDirectory() as folder,
    ):
        results = _measure(model, Path(folder), rounds, progress)
    reached = [
        *goals.of_sizes(results.sizes),
        *goals.of_times(results.times, list(RUNTIMES), results.titles, results.limits),
        *goals.of_starts(results.starts),
        *goals.of_agreement(results.ndcg),
    ]
    record.write(output, _json(results, reached))
    document.write_text(tables.latency_document(results, reached, list(RUNTIMES)))
    Console().print(tables.goals_table(reached))
    Console().print(f"written: {output}, {document}", soft_wrap=True)


def _measure(model: Path | None, folder: Path, rounds: int, progress: Progress) -> Results:
    step = progress.add_task("model", total=None)
    ratings = data.load()
    if model is None:
        fresh, _ = train.train(ratings)
        model = folder / "saved_model"
        fresh.save(str(model))
    keras = serving.load(model)
    progress.update(step, description="files")
    files = contenders.make(keras, folder)
    progress.update(step, description="Keras's order")
    test = data.columns(data.split(ratings).test)
    trained = serving.ranker_of(keras)
    expected = reference.measure(keras, trained, test)
    catalogue = Catalogue(expected.users[:1], expected.catalogue)
    progress.update(step, description="times")
    with ExitStack() as stack:
        sessions, failures = _sessions(stack, files, catalogue)
        bench = _Bench(stack, sessions, catalogue, model, rounds, progress)
        times = bench.run()
        limits = list(_limits(trained, catalogue, bench.machine))
        progress.update(step, description="agreement")
        ndcg = _ndcg(files, sessions, expected)
    progress.update(step, description="cold starts")
    starts = _starts(files, failures, catalogue, rounds)
    progress.update(step, description="profile")
    return Results(
        sizes={file.name: file.size for file in files},
        times=times,
        starts=starts,
        failures=failures,
        limits=limits,
        ndcg=ndcg,
        profiles=list(_profiles(files, catalogue)),
        titles=len(catalogue.titles),
    )


def _profiles(files: list[Contender], catalogue: Catalogue) -> Iterator[profile.Profile]:
    content = {file.name: file.path.read_bytes() for file in files}
    for file, signature, count in PROFILED:
        inputs = catalogue.inputs(signature, count)
        for name in RUNTIMES:
            ops = profile.by_op(content[file], runtime.named(name), signature, count, inputs)
            yield profile.Profile(file, name, signature, count, ops)


def _limits(
    trained: serving.Ranker, catalogue: Catalogue, machine: tuple[Times, Times]
) -> Iterator[goals.Limit]:
    """Of the layers as they were trained, and of what is left of them in the file."""
    left = stable_units.simplify(trained).ranker
    for what, ranker in (("as trained", trained), ("in the file", left)):
        work = _work(ranker, catalogue)
        yield goals.Limit(what, work, goals.milliseconds_needed(work, *machine))


def _work(ranker: serving.Ranker, catalogue: Catalogue) -> goals.Work:
    """Of `rank` at 10,000 candidates with int8 rows."""
    count = goals.LIMIT_CANDIDATES
    dimension = ranker.candidates.table.shape[1]
    first, *others = ranker.dense
    per_candidate = dimension * first.kernel.shape[1] + sum(layer.kernel.size for layer in others)
    user = ranker.users.table.shape[1] * first.kernel.shape[1]
    ids = sum(len(title) for title in np.resize(catalogue.titles, count)) + 4 * count
    # A row with its byte of scale, a float32 score and an int32 place.
    return goals.Work(per_candidate * count + user, ids + count * (dimension + 1 + 4 + 4))


def _sessions(
    stack: ExitStack, files: list[Contender], catalogue: Catalogue
) -> tuple[dict[tuple[str, str], Session], dict[tuple[str, str], str]]:
    """Each file in each runtime, and why one doesn't load or run there."""
    sessions, failures = {}, {}
    for file in files:
        for name in RUNTIMES:
            try:
                session = stack.enter_context(runtime.named(name).open(file.path))
                session.run("score", **catalogue.inputs("score", 10))
                sessions[file.name, name] = session
            except RuntimeFailure as error:
                failures[file.name, name] = str(error)
    return sessions, failures


class _Bench:
    """The timed part: every session beside Keras and the machine's own rates."""

    def __init__(
        self,
        stack: ExitStack,
        sessions: dict[tuple[str, str], Session],
        catalogue: Catalogue,
        model: Path,
        rounds: int,
        progress: Progress,
    ) -> None:
        self._sessions, self._catalogue = sessions, catalogue
        self._rounds, self._progress = rounds, progress
        self._keras = stack.enter_context(yardsticks.KERAS.open(model))
        self._machine = stack.enter_context(yardsticks.MACHINE.open(b""))
        self.machine: tuple[Times, Times]

    def run(self) -> dict[Key, Times]:
        """All times; the machine's own end in `machine`."""
        titles = len(self._catalogue.titles)
        groups = [self._graphs(size) for size in sorted({*SIZES, titles})]
        groups += [self._calls(size) for size in SIZES]
        shape = {"shape": np.array(goals.LIMIT_SHAPE)}
        rates = [self._rate(yardsticks.SGEMM, shape), self._rate(yardsticks.COPY, {})]
        step = self._progress.add_task("rounds", total=self._rounds * len(groups))
        measured: dict[Key, Times] = {}
        for tasks in groups:
            # Beside the candidates whose limit it is.
            beside = rates if tasks[0].key.candidates == goals.LIMIT_CANDIDATES else []
            times = interleaved(
                [*tasks, *beside], self._rounds, lambda: self._progress.advance(step)
            )
            if beside and tasks[0].key.kind == "graph":
                sgemm, copy = (times[task.key] for task in rates)
                self.machine = sgemm, copy
            measured |= times
        return measured

    def _graphs(self, candidates: int) -> list[Task]:
        tasks = []
        for runtime_name in RUNTIMES:
            for (file, name), session in self._sessions.items():
                if name != runtime_name:
                    continue
                for signature in session.signatures:
                    whole = signature == "recommend"
                    if not whole or candidates == len(self._catalogue.titles):
                        tasks.append(self._task(file, name, signature, candidates, "graph"))
        return tasks

    def _calls(self, candidates: int) -> list[Task]:
        chosen = (contenders.NAIVE, goals.DEFAULT)
        tasks = [
            self._task(file, name, "score", candidates, "call")
            for file, name in self._sessions
            if file in chosen
        ]
        inputs = self._catalogue.inputs("score", candidates)
        for signature in (yardsticks.PREDICT, yardsticks.SAVED_MODEL):
            key = Key(signature, "keras", signature, candidates, "call")
            tasks.append(Task(key, self._keras, inputs))
        return tasks

    def _task(self, file: str, name: str, signature: str, candidates: int, kind: Kind) -> Task:
        inputs = self._catalogue.inputs(signature, candidates)
        key = Key(file, name, signature, candidates, kind)
        return Task(key, self._sessions[file, name], inputs)

    def _rate(self, signature: str, inputs: dict[str, Any]) -> Task:
        key = Key(signature, "machine", signature, goals.LIMIT_CANDIDATES, "call")
        return Task(key, self._machine, inputs)


def _starts(
    files: list[Contender],
    failures: dict[tuple[str, str], str],
    catalogue: Catalogue,
    rounds: int,
) -> dict[tuple[str, str], Times]:
    """Milliseconds from opening a file by its path to the first pair's score, in new processes."""
    turns: dict[tuple[str, str], list[Any]] = {}
    inputs = catalogue.inputs("score", 1)
    for turn in range(rounds * STARTS):
        # Each is the first in turn, whom the other runtime's last process left cold caches.
        first = turn % len(files)
        for name in RUNTIMES:
            for file in files[first:] + files[:first]:
                if (file.name, name) in failures:
                    continue
                with runtime.named(name).open(file.path) as session:
                    seconds = session.open_seconds() + session.times("score", 1, **inputs)
                turns.setdefault((file.name, name), []).append(seconds * 1e3)
    return {key: summary(each) for key, each in turns.items()}


def _ndcg(
    files: list[Contender],
    sessions: dict[tuple[str, str], Session],
    expected: reference.Reference,
) -> dict[str, float]:
    """Of each of our files on LiteRT, over the catalogue."""
    found = {}
    for file in files:
        session = sessions.get((file.name, "litert"))
        if session and file.has_rank:
            scores = samples.catalogue_scores(session, expected)
            found[file.name] = agreement(zip(expected.catalogue_scores, scores, strict=True)).ndcg
    return found


def _json(results: Results, reached: list[goals.Goal]) -> dict[str, Any]:
    return {
        "machine": tables.machine(),
        "versions": tables.versions([runtime.named(name) for name in RUNTIMES]),
        "goals": [{**asdict(goal), "met": goal.met} for goal in reached],
        "sizes": results.sizes,
        "failures": [{"file": f, "runtime": r, "why": w} for (f, r), w in results.failures.items()],
        "times": [{**asdict(key), **asdict(times)} for key, times in results.times.items()],
        "starts": [
            {"file": file, "runtime": name, **asdict(times)}
            for (file, name), times in results.starts.items()
        ],
        "limits": [asdict(one) for one in results.limits],
        "ndcg": results.ndcg,
        "profiles": [asdict(one) for one in results.profiles],
    }


app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command(epilog=EXAMPLES)(main)

if __name__ == "__main__":
    sys.exit(app())
