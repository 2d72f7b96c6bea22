"""The terminal: rich output for people, with native libraries' chatter kept from it."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import typer
from rich.console import Console
from rich.status import Status

CHATTER_SHOWN = 4000


def printable(text: str) -> str:
    """Text from a file that nobody vouches for, with what could steer a terminal escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(message: str, code: int = 2) -> typer.Exit:
    """Prints one line of error and gives the exit to raise."""
    Console(stderr=True).print(
        f"error: {printable(message)}", markup=False, highlight=False, soft_wrap=True
    )
    return typer.Exit(code)


@contextmanager
def quiet_libraries() -> Iterator[Console]:
    """Sends what libraries write to standard error to a scratch file, and shows its end if the
    work inside fails unexpectedly.

    TensorFlow, the converter and TFLite print from C++, below Python's reach: hence the
    descriptor itself is turned.

    Yields:
        A console on the real standard error.
    """
    real = os.dup(2)
    stream = os.fdopen(real, "w", buffering=1)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryFile() as chatter:
        sys.stderr.flush()
        os.dup2(chatter.fileno(), 2)
        try:
            yield Console(file=stream)
        except typer.Exit:
            # The command has said all there is to say, in one line.
            raise
        except Exception:
            sys.stderr.flush()
            chatter.seek(0)
            stream.write(chatter.read()[-CHATTER_SHOWN:].decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)


class Stages:
    """Shows stages of long work: a line for each, and a spinner with the one under way."""

    def __init__(self, terminal: Console, quiet: bool) -> None:
        self._terminal, self._quiet = terminal, quiet
        self._status = Status("starting", console=terminal)

    def __enter__(self) -> "Stages":
        if not self._quiet:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._status.stop()

    def __call__(self, message: str) -> None:
        """Begins a stage."""
        if not self._quiet:
            self._terminal.print(message, markup=False, highlight=False, soft_wrap=True)
            self._status.update(message)
