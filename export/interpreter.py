"""The child process that holds an interpreter: the only module that imports one.

`export.runtime` starts it as `python -m export.interpreter MODULE`, and talks to it in messages
over its standard input and output. A process of its own, because tflite-runtime can't share one
with TensorFlow (their C++ bindings clash), and because a runtime may abort on a damaged file.
"""

import importlib
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export import messages


class Server:
    """Answers requests, one at a time, with one interpreter module."""

    def __init__(self, module: str) -> None:
        self._api = importlib.import_module(module)
        self._interpreter: Any = None
        self._runners: dict[str, Any] = {}
        self._open_seconds = 0.0

    def limit_memory(self, extra: int) -> None:
        """Lets this process take that many bytes of addresses more than it has now."""
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + extra
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        # What a crash of that size would leave on the disk.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def open(self, model: str | bytes, xnnpack: bool, threads: int) -> dict[str, Any]:
        """Loads a file, by its path or its bytes; returns its signatures."""
        start = time.perf_counter()
        resolver = self._api.OpResolverType
        source = {"model_content" if isinstance(model, bytes) else "model_path": model}
        self._interpreter = self._api.Interpreter(
            **source,
            num_threads=threads,
            experimental_op_resolver_type=(
                resolver.AUTO if xnnpack else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        signatures: dict[str, Any] = self._interpreter.get_signature_list()
        self._runners = {}
        self._open_seconds = time.perf_counter() - start
        return signatures

    def open_seconds(self) -> float:
        """Seconds that loading the file took, without the import of the runtime."""
        return self._open_seconds

    def _runner(self, signature: str) -> Any:
        """A signature's runner, made at its first use: it prepares the signature's graph."""
        if signature not in self._runners:
            self._runners[signature] = self._interpreter.get_signature_runner(signature)
        return self._runners[signature]

    def run(self, signature: str, inputs: dict[str, Any]) -> dict[str, Any]:
        """Runs a signature once."""
        outputs: dict[str, Any] = self._runner(signature)(**inputs)
        return outputs

    def times(self, signature: str, inputs: dict[str, Any], repeats: int) -> list[float]:
        """Runs a signature repeatedly; seconds of each whole call, inputs and outputs included."""
        runner, seconds = self._runner(signature), []
        for _ in range(repeats):
            start = time.perf_counter()
            runner(**inputs)
            seconds.append(time.perf_counter() - start)
        return seconds

    def invoke_times(self, signature: str, inputs: dict[str, Any], repeats: int) -> list[float]:
        """Seconds of the graph alone: inputs are set once, and outputs stay where they are.

        Both runtimes' Python classes convert strings one by one on the way in, which costs every
        file the same and takes longer than a small graph: apps in C++ or Java don't pay that.
        """
        runner, seconds = self._runner(signature), []
        runner(**inputs)
        invoke, subgraph = runner._interpreter_wrapper.Invoke, runner._subgraph_index
        for _ in range(repeats):
            start = time.perf_counter()
            invoke(subgraph)
            seconds.append(time.perf_counter() - start)
        return seconds

    def resident(self) -> int:
        """Resident memory of this process, bytes."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def serve(make: Callable[[], Any]) -> None:
    """Answers requests by a server's methods until standard input ends.

    Args:
        make: makes the server, at the first request.
    """
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    # Whatever a native library prints must not get between the replies.
    os.dup2(2, 1)
    server: Any = None
    while True:
        try:
            name, arguments = messages.receive(requests)
        except EOFError:
            return
        try:
            if server is None:
                server = make()
            messages.send(replies, (True, getattr(server, name)(*arguments)))
        except Exception as error:  # Passed on whole: the caller names it.
            messages.send(replies, (False, f"{type(error).__name__}: {error}"))


if __name__ == "__main__":
    serve(lambda: Server(sys.argv[1]))
