"""Publishing: files written beside their place and renamed, so that none is ever half there."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class PublishingError(ValueError):
    """The output folder can't be written; the message says why."""


def prepare(folder: Path) -> None:
    """Makes the folder and tries to write in it, before long work is spent.

    Raises:
        PublishingError: it can't be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PublishingError(
            f"can't write in {folder} ({error.strerror}): choose another --output-dir"
        ) from error


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Puts all files in place, or none of them while they are still being written.

    Everything is written and flushed under other names first; the renames come last, in the
    order given.

    Raises:
        PublishingError: the disk is full or the folder can't be written.
    """
    staged: dict[Path, Path] = {}
    try:
        with _locked(folder):
            for name, content in files.items():
                partial = folder / f".{name}.partial-{os.getpid()}"
                staged[partial] = folder / name
                with partial.open("wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
            for partial, final in staged.items():
                partial.replace(final)
    except OSError as error:
        raise PublishingError(f"can't write in {folder} ({error.strerror})") from error
    finally:
        for partial in staged:
            partial.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keeps two exports into one folder from mixing their files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
