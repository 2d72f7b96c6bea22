"""Timing: tasks take turns, so that a busy moment of the machine slows all of them alike."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from export.runtime import Session

Kind = Literal["graph", "call"]
# What one task gets of a round; long enough for a median, short against a busy neighbour.
TURN_SECONDS = 0.03
MAX_CALLS = 40


@dataclass(frozen=True)
class Key:
    """What is timed.

    Attributes:
        file: the contender's or yardstick's name.
        runtime: its name.
        signature: of the file.
        candidates: how many.
        kind: `graph` is Invoke alone, `call` the whole Python call.
    """

    file: str
    runtime: str
    signature: str
    candidates: int
    kind: Kind


@dataclass(frozen=True)
class Task:
    """A call to time, and the session that makes it.

    `signature` is the file's own where the key names what it stands for.
    """

    key: Key
    session: Session
    inputs: dict[str, Any] = field(repr=False)
    signature: str = ""


@dataclass(frozen=True)
class Times:
    """Milliseconds.

    Attributes:
        median: over all calls.
        low: their first quartile.
        high: their third one.
        rounds: each round's median; the same round of two tasks is one moment of the machine.
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]


@dataclass(frozen=True)
class Ratio:
    """One task's time over another's, round by round: the median and the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(left: Times, right: Times) -> Ratio:
    """Two tasks' ratio, paired by round."""
    quotients = np.array(left.rounds) / np.array(right.rounds)
    low, median, high = np.percentile(quotients, [25, 50, 75])
    return Ratio(float(median), float(low), float(high))


def interleaved(
    tasks: Sequence[Task], rounds: int, on_round: Callable[[], None] = lambda: None
) -> dict[Key, Times]:
    """Times tasks in turns.

    Args:
        tasks: those that are to be compared.
        rounds: how many turns each gets.
        on_round: told after each round.
    """
    calls = {task.key: _calls(task) for task in tasks}
    measured: dict[Key, list[Any]] = {task.key: [] for task in tasks}
    for _ in range(rounds):
        for task in tasks:
            measured[task.key].append(_times(task, calls[task.key]) * 1e3)
        on_round()
    return {key: summary(turns) for key, turns in measured.items()}


def summary(turns: Iterable[Any]) -> Times:
    """Of each round's milliseconds."""
    turns = list(turns)
    low, median, high = np.percentile(np.concatenate(turns), [25, 50, 75])
    rounds = tuple(float(np.median(turn)) for turn in turns)
    return Times(float(median), float(low), float(high), rounds)


def _calls(task: Task) -> int:
    """How many calls fill a turn."""
    seconds = float(np.median(_times(task, 3)))
    return int(np.clip(TURN_SECONDS / seconds, 1, MAX_CALLS))


def _times(task: Task, calls: int) -> Any:
    session = task.session
    times = session.invoke_times if task.key.kind == "graph" else session.times
    return times(task.signature or task.key.signature, calls, **task.inputs)
