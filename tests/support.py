"""What several test modules share: runtimes kept warm, and what stands in for a small catalogue."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from export import flatbuffer, parity, quantization, reference, runtime, serving
from model import ranking, train

ROOT = Path(__file__).parent.parent
RECIPES = tuple(quantization.RECIPES)
RUNTIMES = tuple(one.name for one in runtime.installed())
NEWEST = "litert"

Array = npt.NDArray[Any]
# The folder that an export published into, and how its command ended.
WholeRun: TypeAlias = tuple[Path, "subprocess.CompletedProcess[str]"]

_children: dict[str, "subprocess.Popen[bytes]"] = {}


class WarmSession(runtime.Session):
    """A session in a child process that other sessions used before and will use again."""

    def __init__(self, kind: runtime.Runtime, model: Path | bytes, xnnpack: bool) -> None:
        self.runtime = kind
        self._process = _children[kind.name]
        self.signatures = self._load(model, xnnpack, 1)

    def close(self) -> None:
        """Leaves the child for the next one."""


class WarmRuntime(runtime.Runtime):
    """A real runtime whose child process serves one session after another.

    TensorFlow takes five seconds to start, and the tests open some fifty sessions. What a fresh
    process does is tested in `test_runtime.py` and by the whole run in `test_tflite.py`.
    """

    def open(
        self,
        model: Path | bytes,
        xnnpack: bool = True,
        threads: int = 1,
        limits: runtime.Limits | None = None,
    ) -> runtime.Session:
        """Loads a file in the child that is there, or in a new one."""
        child = _children.get(self.name)
        if child is not None and child.poll() is None:
            return WarmSession(self, model, xnnpack)
        session = super().open(model, xnnpack, threads, limits)
        _children[self.name] = session._process
        return WarmSession(self, model, xnnpack)


def warm(name: str) -> WarmRuntime:
    """The runtime of that name, kept warm."""
    kind = runtime.named(name)
    return WarmRuntime(kind.name, kind.module, kind.package)


def end_children() -> None:
    """Ends the warm children."""
    for child in _children.values():
        if child.stdin:
            child.stdin.close()
        if child.stdout:
            child.stdout.close()
        child.wait()
    _children.clear()


@dataclass(frozen=True)
class Trained:
    """The trained model, what training measured, and each epoch's number and training RMSE."""

    model: ranking.MovielensModel
    training: train.Training
    epochs: list[tuple[int, float]]


@dataclass(frozen=True, repr=False)
class Exported:
    """The trained ranker, its files and its cut-down reference: made once, and measured once."""

    ranker: serving.Ranker
    float_model: bytes
    files: dict[str, bytes]
    reference: reference.Reference
    measured: dict[str, parity.Parity]

    def parity_of(self, recipe: str) -> parity.Parity:
        """The recipe's file, measured on every installed runtime."""
        if recipe not in self.measured:
            self.measured[recipe] = self.measure(recipe, self.files[recipe], RUNTIMES)
        return self.measured[recipe]

    def measure(
        self, recipe: str, file: bytes, runtimes: tuple[str, ...] = (NEWEST,)
    ) -> parity.Parity:
        """Measures any file against Keras, as if it were a recipe's."""
        kinds = tuple(warm(name) for name in runtimes)
        return parity.measure(recipe, file, self.ranker, self.reference, kinds)


def python(*arguments: str, timeout: float = 300) -> "subprocess.CompletedProcess[str]":
    """Runs Python in the project's folder."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def own_ratings(folder: Path) -> tuple[str, ...]:
    """Made ratings with other columns and labels: the options that export them, cut."""
    random = np.random.default_rng(0)
    users, tracks = random.integers(0, 40, 4000), random.integers(0, 60, 4000)
    seconds = 100 + 20 * np.sin(users) + 60 * np.cos(tracks) + random.normal(0, 5, 4000)
    rows = zip(users, tracks, seconds, strict=True)
    lines = (f"{second:.1f},listener-{user:02},track № {track:02}" for user, track, second in rows)
    (folder / "plays.csv").write_text("seconds,listener,track\n" + "\n".join(lines), "utf-8")
    (folder / "listeners.txt").write_text("listener-07\n")
    return (
        *("--ratings", str(folder / "plays.csv"), "--epochs", "30"),
        *("--user-column", "listener", "--item-column", "track", "--label-column", "seconds"),
        *("--users", str(folder / "listeners.txt"), "--items", "top:50", "--oov", "mean"),
    )


def string_bytes(values: list[bytes]) -> npt.NDArray[np.uint8]:
    """A string tensor's buffer, as TFLite lays it out: count, offsets, bytes."""
    head = 4 * (len(values) + 2)
    ends = np.cumsum([head, *(len(value) for value in values)])
    numbers = np.array([len(values), *ends], "<i4")
    return np.frombuffer(numbers.tobytes() + b"".join(values), np.uint8)


def ops_named(
    model: flatbuffer.Model, name: str
) -> list[tuple[flatbuffer.Subgraph, flatbuffer.Operator]]:
    """Every op of that name with its subgraph."""
    return [(graph, op) for graph, op, kind in flatbuffer.operators(model) if kind == name]
