"""Publishing: an export's files change all at once, and none is ever half there.

The files of an export lie in a hidden folder of their own, `.export-…`. The names that people
use are links through one more link, `.export`, and renaming that one is the publication: before
it every name gives the earlier export, after it the new one, wherever a process is killed.
(Kubernetes' mounted secrets change likewise.)
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

CURRENT = ".export"
_GENERATION = ".export-"
_SCRATCH = ".scratch-"


class PublishingError(ValueError):
    """The output folder can't be written; the message says why."""


def prepare(folder: Path) -> None:
    """Makes the folder and tries to write in it, before long work is spent.

    Raises:
        PublishingError: it can't be made or written.
    """
    with _telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Nameless where the system can do so: a killed process leaves nothing.
        with tempfile.TemporaryFile(dir=folder):
            pass


def publish(folder: Path, files: Mapping[str, bytes]) -> None:
    """Puts an export's files in the place of the earlier one's, all at one moment.

    Files of the earlier export that the new one doesn't have go; others in the folder stay.

    Raises:
        PublishingError: the disk is full or the folder can't be written; the earlier export is
            as it was.
    """
    with _telling(folder), locked(folder):
        _sweep(folder)
        try:
            generation = _generation(folder)
            for name, content in files.items():
                _write(generation / name, content)
            _sync(generation)
            _adopt(folder, files)
            for name in files:
                if not _ours(folder / name):
                    _link(folder, name, f"{CURRENT}/{name}")
            _link(folder, CURRENT, generation.name)
            _sync(folder)
        finally:
            _sweep(folder)


def replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Puts plain files in place one after the other, in the order given.

    For folders whose readers follow no links, such as an app's assets. Everything is written
    first; a process killed between two of the last renames leaves whole files of both kinds.

    Raises:
        PublishingError: the disk is full or the folder can't be written.
    """
    with _telling(folder), locked(folder):
        _sweep(folder)
        try:
            staged = {name: folder / f"{_SCRATCH}{uuid.uuid4().hex}" for name in files}
            for name, content in files.items():
                _write(staged[name], content)
            for name, path in staged.items():
                path.replace(folder / name)
            _sync(folder)
        finally:
            _sweep(folder)


@contextlib.contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[None]:
    """Holds the folder: no other process publishes into it meanwhile.

    Args:
        folder: which.
        shared: for readers, who do not keep one another waiting.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _telling(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PublishingError(
            f"can't write in {folder} ({error.strerror}): make room there, or choose another "
            "folder (--output-dir)"
        ) from error


def _generation(folder: Path) -> Path:
    generation = folder / f"{_GENERATION}{uuid.uuid4().hex}"
    generation.mkdir()
    return generation


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    """Makes the folder's names last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(folder: Path, name: str, target: str) -> None:
    """Makes a link, in the place of what was there: never is there neither."""
    scratch = folder / f"{_SCRATCH}{uuid.uuid4().hex}"
    scratch.symlink_to(target)
    scratch.replace(folder / name)


def _adopt(folder: Path, names: Mapping[str, bytes]) -> None:
    """Makes plain files under those names part of an export of their own, behind links.

    They are there where an earlier version or someone's hand put them. What each name gives
    stays the same all the while.
    """
    plain = [name for name in names if (folder / name).exists() and not _ours(folder / name)]
    if not plain:
        return
    generation = _generation(folder)
    for path in [*(folder / name for name in plain), *filter(_ours, folder.iterdir())]:
        if path.exists():
            try:
                os.link(path.resolve(), generation / path.name)
            except OSError:  # Not every file system has hard links.
                shutil.copyfile(path, generation / path.name)
    _link(folder, CURRENT, generation.name)
    for name in plain:
        _link(folder, name, f"{CURRENT}/{name}")


def _ours(path: Path) -> bool:
    return path.is_symlink() and str(path.readlink()).startswith(f"{CURRENT}/")


def _sweep(folder: Path) -> None:
    """Drops what killed processes left, earlier exports, and links that lead nowhere.

    Only with the folder locked: no other process is at work then.
    """
    current = folder / CURRENT
    kept = current.readlink().name if current.is_symlink() else None
    for path in list(folder.iterdir()):
        copied = path == current and kept is None  # By one who followed the links.
        if copied or (path.name.startswith(_GENERATION) and path.name != kept):
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(_SCRATCH) or (_ours(path) and not path.exists()):
            path.unlink(missing_ok=True)
