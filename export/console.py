"""The terminal: rich output for people, with native libraries' chatter kept from it."""

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

CHATTER_SHOWN = 4000


def printable(text: str) -> str:
    """Text from a file that nobody vouches for, with what could steer a terminal escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def fail(message: str, code: int = 2) -> typer.Exit:
    """Prints one line of error and gives the exit to raise."""
    return failed(Console(stderr=True), f"error: {printable(message)}", code)


def failed(terminal: Console, message: str, code: int) -> typer.Exit:
    """Prints a message as it is and gives the exit to raise."""
    terminal.print(message, markup=False, highlight=False, soft_wrap=True)
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
