"""Publishing: the earlier export or the new one, whole, whatever happens on the way."""

import hashlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from export import publishing
from tests.publications import CALLS, NAMES, export, hidden, shown
from tests.support import ROOT, python

ONE_EXPORT = [".export", ".export-"]

POINTS = 24
# Publishes in a child for each point at which it is to die, and tells what stands there then.
# `start` is how the folder looks before; a point is a line of publishing.py about to be run,
# of which there are some hundreds: evenly many are left out, since each costs a publication.
KILLED = f"""
import json, os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from export import publishing
from tests.publications import CALLS, export, hidden, shown
call, start, folders = sys.argv[1], sys.argv[2], Path(sys.argv[3])

def prepare(folder):
    folder.mkdir()
    if start == "plain":
        publishing.replace(folder, export("earlier"))
    if start == "linked":
        publishing.publish(folder, export("earlier"))

def publish(folder, last):
    def count(frame, event, argument):
        if not frame.f_code.co_filename.endswith("publishing.py"):
            return None
        if event == "line":
            count.lines += 1
            if count.lines == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return count
    count.lines = 0
    sys.settrace(count)
    CALLS[call](folder, export("new"))
    sys.settrace(None)
    return count.lines

prepare(folders / "whole")
lines = publish(folders / "whole", None)
for point in [1 + lines * turn // {POINTS} for turn in range({POINTS})] + [lines + 1]:
    folder = folders / str(point)
    prepare(folder)
    child = os.fork()
    if not child:
        publish(folder, point)
        os._exit(0)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = {{name: content.decode()[:200] for name, content in shown(folder).items()}}
    whole = [shown(folder) == export(mark) for mark in ("earlier", "new")]
    publishing.publish(folder, export("after"))
    after = shown(folder) == export("after") and hidden(folder)
    print(json.dumps([ended, seen, whole, after]))
"""


@pytest.mark.parametrize("start", ["empty", "plain", "linked"])
def test_killed_at_every_step(tmp_path: Path, start: str) -> None:
    """At lines all over the publication."""
    run = python("-c", KILLED, "publish", start, str(tmp_path))
    assert run.returncode == 0, run.stderr
    points = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(points) == POINTS + 1
    for ended, seen, (earlier, new), after in points[:-1]:
        assert ended == -signal.SIGKILL
        assert earlier or new or (start == "empty" and seen == {}), seen
        # The lock died with its owner, and what it left is gone.
        assert after == ONE_EXPORT
    ended, _, whole, _ = points[-1]
    assert (ended, whole) == (0, [False, True])
    assert any(new for _, _, (_, new), _ in points[:-1]), "some are killed after the change"


def test_plain_files_killed_at_every_step(tmp_path: Path) -> None:
    """One after the other: each is whole, and the last is new only where all are."""
    run = python("-c", KILLED, "replace", "plain", str(tmp_path))
    assert run.returncode == 0, run.stderr
    points = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(points) == POINTS + 1
    expected = [
        {name: content.decode()[:200] for name, content in export(mark).items()}
        for mark in ("earlier", "new")
    ]
    for _, seen, _, after in points:
        changed = [seen[name] == expected[1][name] for name in NAMES]
        assert all(
            seen[name] == expected[new][name] for name, new in zip(NAMES, changed, strict=True)
        )
        assert changed == sorted(changed, reverse=True)
        assert after == ONE_EXPORT


def test_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """The system ends the process when a file passes the size that it may have."""
    publishing.publish(tmp_path, export("earlier"))
    program = (
        "import resource, signal\nfrom pathlib import Path\nfrom export import publishing\n"
        "from tests.publications import export\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        f"publishing.publish(Path({str(tmp_path)!r}), export('new'))\n"
    )
    assert python("-c", program).returncode == -signal.SIGXFSZ
    left = [p.stat().st_size for p in tmp_path.glob(".export-*/ranker.tflite")]
    assert sorted(left) == [10_000, len(export("earlier")["ranker.tflite"])]
    assert shown(tmp_path) == export("earlier")
    publishing.publish(tmp_path, export("new"))
    assert (shown(tmp_path), hidden(tmp_path)) == (export("new"), ONE_EXPORT)


def full(program: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a program in a folder of 64 kB; where nothing can be mounted, files may have no more."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=False
    )
    limit = (
        ""
        if mounted.returncode == 0
        else "resource.setrlimit(resource.RLIMIT_FSIZE, (65536,) * 2)\n"
    )
    try:
        return python("-c", "import resource\n" + limit + program)
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("call", CALLS)
def test_full_disk(tmp_path: Path, call: str) -> None:
    program = (
        "from pathlib import Path\nfrom export import publishing\n"
        "from tests.publications import export, hidden, shown\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"publishing.{call}(folder, export('earlier', 1000))\n"
        "try:\n"
        f"    publishing.{call}(folder, export('new', 100_000))\n"
        "except publishing.PublishingError as error:\n"
        "    print(error)\n"
        "assert shown(folder) == export('earlier', 1000)\n"
        "print(len(hidden(folder)))\n"
        f"publishing.{call}(folder, export('new', 1000))\n"
        "assert shown(folder) == export('new', 1000)\n"
    )
    run = full(program, tmp_path)
    assert run.returncode == 0, run.stderr
    error, left = run.stdout.splitlines()
    assert error.startswith(f"can't write in {tmp_path} (")
    assert "No space left" in error or "File too large" in error
    assert left == ("2" if call == "publish" else "0")


@pytest.mark.parametrize(
    "call", ["prepare(folder)", "publish(folder, {})", "replace(folder, {'a': b''})"]
)
def test_folder_that_is_read_only(tmp_path: Path, call: str) -> None:
    """As a user who may not write there: the superuser may."""
    publishing.publish(tmp_path, export("earlier"))
    tmp_path.chmod(0o555)
    for parent in tmp_path.parents:
        if parent.owner() == tmp_path.owner() and "pytest" in parent.name:
            parent.chmod(0o755)
    program = (
        "import os\nfrom pathlib import Path\nfrom export import publishing\n"
        "if os.geteuid() == 0:\n    os.seteuid(65534)\n"
        f"folder = Path({str(tmp_path)!r})\n"
        f"try:\n    publishing.{call}\n"
        "except publishing.PublishingError as error:\n    print(error)\n"
    )
    run = python("-c", program)
    tmp_path.chmod(0o755)
    assert run.stdout.startswith(f"can't write in {tmp_path} (Permission denied)"), run.stderr
    assert len(run.stdout.splitlines()) == 1
    assert shown(tmp_path) == export("earlier")


def test_two_exports_at_once(tmp_path: Path) -> None:
    """Two processes publish in turns as fast as they can; who holds the folder sees one whole."""
    publishing.publish(tmp_path, export("first"))
    program = (
        "import sys\nfrom pathlib import Path\nfrom export import publishing\n"
        "from tests.publications import export\n"
        f"for turn in range(40): publishing.publish(Path({str(tmp_path)!r}), export(sys.argv[1]))\n"
    )
    exports = [
        subprocess.Popen([sys.executable, "-c", program, mark], cwd=ROOT) for mark in ("one", "two")
    ]
    seen = set()
    while any(one.poll() is None for one in exports):
        with publishing.locked(tmp_path, shared=True):
            files = shown(tmp_path)
        assert hashlib.sha256(files["ranker.tflite"]).hexdigest() in files["parity.json"].decode()
        mark = files["vocabulary.json"].decode()
        assert files == export(mark)
        seen.add(mark)
    assert [one.returncode for one in exports] == [0, 0]
    assert seen - {"first"} and hidden(tmp_path) == ONE_EXPORT


def test_exports_wait_for_one_another(tmp_path: Path) -> None:
    with publishing.locked(tmp_path):
        waiting = threading.Thread(target=publishing.publish, args=(tmp_path, export("new")))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive() and shown(tmp_path) == {}
    waiting.join()
    assert shown(tmp_path) == export("new")


def test_files_that_the_new_export_has_not_go(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_bytes(b"somebody's own")
    publishing.publish(tmp_path, {**export("earlier"), "golden.json": b"{}"})
    publishing.publish(tmp_path, export("new"))
    assert shown(tmp_path) == {**export("new"), "notes.txt": b"somebody's own"}
    assert hidden(tmp_path) == ONE_EXPORT


def test_names_that_are_links_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"not to be changed")
    (tmp_path / "ranker.tflite").symlink_to("elsewhere")
    (tmp_path / "parity.json").symlink_to("nowhere")
    publishing.publish(tmp_path, export("new"))
    assert shown(tmp_path) == {**export("new"), "elsewhere": b"not to be changed"}


@pytest.mark.parametrize("follow", ["-r", "-rL"])
def test_copied_folder_is_an_export_too(tmp_path: Path, follow: str) -> None:
    (tmp_path / "original").mkdir()
    publishing.publish(tmp_path / "original", export("earlier"))
    copy = tmp_path / "copy"
    subprocess.run(["cp", follow, str(tmp_path / "original"), str(copy)], check=True)
    assert shown(copy) == export("earlier")
    publishing.publish(copy, export("new"))
    assert (shown(copy), hidden(copy)) == (export("new"), ONE_EXPORT)


def test_prepare_makes_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    publishing.prepare(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []


def test_folder_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(publishing.PublishingError, match=r"can't write in .*choose another"):
        publishing.prepare(tmp_path / "file" / "folder")


@pytest.mark.parametrize("call", CALLS)
def test_name_that_cannot_be_replaced(tmp_path: Path, call: str) -> None:
    """A folder stands where the model should go."""
    (tmp_path / "ranker.tflite").mkdir()
    with pytest.raises(publishing.PublishingError, match="can't write in"):
        CALLS[call](tmp_path, export("new"))
    expected = [] if call == "publish" else ["parity.json", "vocabulary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *expected[:1],
        "ranker.tflite",
        *expected[1:],
    ]
