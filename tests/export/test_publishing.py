"""Publishing: whole files or the earlier ones, whatever happens on the way."""

import signal
from pathlib import Path

import pytest

from export import publishing
from tests.support import python

FILES = {"vocabulary.json": b"v" * 5000, "parity.json": b"p" * 5000, "ranker.tflite": b"r" * 50_000}

# Kills its own process in the call that is named, the so manyth time that it comes.
KILLED = """
import os, pathlib, signal, sys
from export import publishing
folder, call, turn = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
owner = os if call == "fsync" else pathlib.Path
original, seen = getattr(owner, call), []
def deadly(*arguments):
    seen.append(1)
    if len(seen) == turn:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)
setattr(owner, call, deadly)
files = {"vocabulary.json": b"v" * 5000, "parity.json": b"p" * 5000, "ranker.tflite": b"r" * 50_000}
publishing.publish(folder, files)
"""


def test_publishes_everything(tmp_path: Path) -> None:
    publishing.prepare(tmp_path / "new" / "folder")
    publishing.publish(tmp_path / "new" / "folder", FILES)
    found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "folder").iterdir()}
    assert found == FILES


def test_publishes_again(tmp_path: Path) -> None:
    publishing.publish(tmp_path, dict.fromkeys(FILES, b"earlier and longer" * 9999))
    publishing.publish(tmp_path, FILES)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize(
    ("call", "turn"), [*(("fsync", n) for n in (1, 2, 3)), *(("replace", n) for n in (1, 2, 3))]
)
def test_killed_export_leaves_no_half_file(tmp_path: Path, call: str, turn: int) -> None:
    earlier = dict.fromkeys(FILES, b"earlier")
    publishing.publish(tmp_path, earlier)
    run = python("-c", KILLED, str(tmp_path), call, str(turn))
    assert run.returncode == -signal.SIGKILL, run.stderr
    replaced = turn - 1 if call == "replace" else 0
    # In the order given: the model itself changes last, when all that describes it is there.
    for place, (name, content) in enumerate(FILES.items()):
        expected = content if place < replaced else earlier[name]
        assert (tmp_path / name).read_bytes() == expected
    # The lock died with its owner, and what it left doesn't stand in the way.
    publishing.publish(tmp_path, FILES)
    assert all((tmp_path / name).read_bytes() == content for name, content in FILES.items())


def test_folder_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(publishing.PublishingError, match=r"can't write in .*choose another"):
        publishing.prepare(tmp_path / "file" / "folder")


def test_name_that_cannot_be_replaced(tmp_path: Path) -> None:
    """A folder stands where the model should go: the files that came before it stay whole."""
    (tmp_path / "ranker.tflite").mkdir()
    with pytest.raises(publishing.PublishingError, match="can't write in"):
        publishing.publish(tmp_path, FILES)
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]
    assert (tmp_path / "parity.json").read_bytes() == FILES["parity.json"]


def test_full_disk(tmp_path: Path) -> None:
    """/dev/full stands for the disk: every write to it ends in ENOSPC."""
    publishing.publish(tmp_path, dict.fromkeys(FILES, b"earlier"))
    script = (
        "import os, pathlib, sys\n"
        "from export import publishing\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "(folder / f'.parity.json.partial-{os.getpid()}').symlink_to('/dev/full')\n"
        "try:\n"
        "    publishing.publish(folder, {'vocabulary.json': b'v', 'parity.json': b'p'})\n"
        "except publishing.PublishingError as error:\n"
        "    print(error)\n"
    )
    run = python("-c", script, str(tmp_path))
    assert "No space left" in run.stdout, run.stderr
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        FILES, b"earlier"
    )
