"""TFLite runtimes: one small interface to each, with the interpreter in a child process."""

import contextlib
import importlib.metadata
import importlib.util
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from export import messages

Array = npt.NDArray[Any]
Result = TypeVar("Result")

SHOWN = 60
"""How much of a wrong id is shown."""

SECONDS_TO_END = 5
"""How long a child that broke off may take to end: a crash writes its core first."""


class RuntimeUnavailableError(ValueError):
    """The runtime asked for is unknown or not installed here."""


class IdError(ValueError):
    """A text that can't be an id: it has no UTF-8 form; the message shows it."""


class RuntimeFailure(RuntimeError):
    """The runtime refused to load the file or to run it, or crashed; the message says which."""


@dataclass(frozen=True)
class Limits:
    """What a file that nobody vouches for may take.

    Attributes:
        seconds: of one call, after which its process is killed: a file can loop for ever.
        memory: bytes of addresses, beyond those of the runtime itself. Loading takes the file's
            size three times (to receive it, and the runtime's copy) and its tables widened.
        answer: bytes of one answer; a catalogue of a million titles takes a tenth of it.
    """

    seconds: float = 60.0
    memory: int = 8 * 2**30
    answer: int = 2**29


@dataclass(frozen=True)
class Runtime:
    """A TFLite interpreter that Python can import.

    Attributes:
        name: what `--runtime` takes.
        module: the module whose `Interpreter` it is.
        package: the distribution that carries it.
    """

    name: str
    module: str
    package: str

    @property
    def installed(self) -> bool:
        """Whether its distribution is installed here."""
        try:
            return bool(self.version)
        except importlib.metadata.PackageNotFoundError:
            return False

    @property
    def version(self) -> str:
        """The installed distribution's version."""
        return importlib.metadata.version(self.package)

    @property
    def command(self) -> list[str]:
        """What starts its child process."""
        return [sys.executable, "-m", "export.interpreter", self.module]

    def open(
        self,
        model: Path | bytes,
        xnnpack: bool = True,
        threads: int = 1,
        limits: Limits | None = None,
    ) -> "Session":
        """Loads a file in a new child process and makes it ready.

        Args:
            model: a path, which lets the runtime map the file, or the file's bytes.
            xnnpack: with the XNNPACK delegate, the default on phones, or the plain kernels.
            threads: CPU threads.
            limits: for a file that nobody vouches for.

        Raises:
            RuntimeFailure: the runtime can't load it.
        """
        return Session(self, model, xnnpack, threads, limits)


RUNTIMES: Mapping[str, Runtime] = MappingProxyType(
    {
        runtime.name: runtime
        for runtime in (
            Runtime("tflite-runtime", "tflite_runtime.interpreter", "tflite-runtime"),
            Runtime("litert", "ai_edge_litert.interpreter", "ai-edge-litert"),
            Runtime("tensorflow", "tensorflow.lite.python.interpreter", "tensorflow"),
        )
    }
)


def installed() -> tuple[Runtime, ...]:
    """The runtimes that are installed here, oldest first."""
    return tuple(runtime for runtime in RUNTIMES.values() if runtime.installed)


def named(name: str) -> Runtime:
    """The runtime of that name.

    Raises:
        RuntimeUnavailableError: unknown, or not installed.
    """
    if name not in RUNTIMES:
        raise RuntimeUnavailableError(
            f"unknown runtime {name!r}: choose from {', '.join(RUNTIMES)}"
        )
    runtime = RUNTIMES[name]
    if not runtime.installed:
        raise RuntimeUnavailableError(
            f"{name} is not installed here (pip install {runtime.package}); "
            f"installed: {', '.join(r.name for r in installed())}"
        )
    return runtime


def on_each(
    runtimes: Sequence[Runtime],
    work: Callable[[Runtime], Result],
    on_runtime: Callable[[str], None] = lambda name: None,
) -> list[Result]:
    """Does work on several runtimes side by side: each is a process of its own.

    Not for timings, which others' work would disturb.

    Args:
        runtimes: which.
        work: done on each.
        on_runtime: told each runtime's name before they begin.

    Returns:
        What came of the work, in the order of the runtimes.
    """
    for runtime in runtimes:
        on_runtime(runtime.name)
    with ThreadPoolExecutor(max(len(runtimes), 1)) as pool:
        return list(pool.map(work, runtimes))


class Session:
    """A loaded model. Calls wait for one another; close it, or use it in a `with`."""

    _limits: Limits | None = None

    def __init__(
        self,
        runtime: Runtime,
        model: Path | bytes,
        xnnpack: bool,
        threads: int,
        limits: Limits | None = None,
    ) -> None:
        self.runtime = runtime
        self._process = subprocess.Popen(
            runtime.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).parent.parent,
        )
        try:
            # Within no limit yet: the runtime's own import may take long.
            if limits is not None:
                self._ask("limit_memory", limits.memory)
            self._limits = limits
            self.signatures = self._load(model, xnnpack, threads)
        except RuntimeFailure as error:
            self.close()
            raise RuntimeFailure(f"{runtime.name} can't load the file: {error}") from error

    def run(self, signature: str, **inputs: Array | Sequence[str]) -> dict[str, Array]:
        """Runs a signature.

        Args:
            signature: its name.
            inputs: by name; sequences of `str` go as UTF-8 bytes.

        Returns:
            Outputs by name; strings come as `bytes` objects.

        Raises:
            RuntimeFailure: the runtime refuses, for whatever reason it gives, or crashes.
        """
        self._check(signature)
        try:
            outputs = self._ask("run", signature, _encoded(inputs))
        except RuntimeFailure as error:
            raise RuntimeFailure(f"{self.runtime.name}: {signature} failed: {error}") from error
        if not isinstance(outputs, dict) or not all(
            isinstance(values, np.ndarray) for values in outputs.values()
        ):
            raise RuntimeFailure(f"{self.runtime.name}: {signature} gave no arrays")
        return outputs

    def times(
        self, signature: str, repeats: int, **inputs: Array | Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Seconds of each of `repeats` calls inside the child: `float64[repeats]`.

        Raises:
            RuntimeFailure: as for `run`.
        """
        self._check(signature)
        return np.array(self._ask("times", signature, _encoded(inputs), repeats))

    def invoke_times(
        self, signature: str, repeats: int, **inputs: Array | Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """As `times`, of the graph alone: without setting inputs and reading outputs.

        One whole call comes first, untimed.

        Raises:
            RuntimeFailure: as for `run`.
        """
        self._check(signature)
        return np.array(self._ask("invoke_times", signature, _encoded(inputs), repeats))

    def open_seconds(self) -> float:
        """Seconds that loading the file took in the child, without the import of the runtime."""
        return float(self._ask("open_seconds"))

    def resident(self) -> int:
        """Resident memory of the child process, bytes."""
        return int(self._ask("resident"))

    def close(self) -> None:
        """Ends the child process."""
        if self._process.stdin:
            # What a child that crashed has not read is lost with it.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        if self._process.stdout:
            self._process.stdout.close()
        self._process.wait()

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _check(self, signature: str) -> None:
        if signature not in self.signatures:
            known = ", ".join(self.signatures) or "none"
            raise RuntimeFailure(f"the file has no signature {signature!r}; it has: {known}")

    def _load(
        self, model: Path | bytes, xnnpack: bool, threads: int
    ) -> dict[str, dict[str, list[str]]]:
        """Loads a file in the child; gives its signatures."""
        signatures = self._ask("open", model, xnnpack, threads)
        if not isinstance(signatures, dict):
            raise RuntimeFailure("it gave no signatures")
        return signatures

    def _ask(self, request: str, *arguments: Any) -> Any:
        assert self._process.stdin and self._process.stdout
        limits, late, timer = self._limits, threading.Event(), None

        def end() -> None:
            late.set()
            self._process.kill()

        if limits is not None:
            timer = threading.Timer(limits.seconds, end)
            timer.daemon = True
            timer.start()
        try:
            messages.send(self._process.stdin, (request, arguments))
            most = messages.MAX_BYTES if limits is None else limits.answer
            worked, answer = _reply(messages.receive(self._process.stdout, most))
        except (EOFError, BrokenPipeError, messages.MessageError) as error:
            raise RuntimeFailure(self._end(late)) from error
        finally:
            if timer is not None:
                timer.cancel()
        if not worked:
            raise RuntimeFailure(answer)
        return answer

    def _end(self, late: threading.Event) -> str:
        """Ends a child that has not answered as it should; says what became of it."""
        try:
            code = self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"{self.runtime.name} gave no answer that can be read, and was ended"
        if late.is_set() and self._limits is not None:
            return f"{self.runtime.name} took longer than {self._limits.seconds:g} s, and was ended"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{self.runtime.name} crashed ({how})"


def _reply(content: Any) -> tuple[bool, Any]:
    """A child's answer, and whether it is one or tells of a failure.

    Raises:
        MessageError: it is neither.
    """
    if not isinstance(content, list) or len(content) != 2 or not isinstance(content[0], bool):
        raise messages.MessageError("no reply")
    worked, answer = content
    return worked, answer if worked else str(answer)


def utf8(ids: Sequence[str] | Array) -> Array:
    """String ids as an object array of UTF-8 bytes, `bytes[n]`: what every runtime takes.

    Raises:
        IdError: one holds a lone surrogate, half of a character, as Python reads bytes that are
            not UTF-8.
    """
    return np.array([_utf8(str(text)) for text in ids], dtype=object)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        shown = ascii(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")
        raise IdError(f"the id {shown} is no valid Unicode (a lone surrogate)") from error


def _encoded(inputs: Mapping[str, Array | Sequence[str]]) -> dict[str, Array]:
    return {
        name: values
        if isinstance(values, np.ndarray) and values.dtype.kind != "U"
        else utf8(values)
        for name, values in inputs.items()
    }
