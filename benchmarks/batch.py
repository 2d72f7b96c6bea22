"""Bulk scoring's rows a second and memory: `python -m benchmarks.batch`."""

import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console

from benchmarks import record
from export import flatbuffer

MIB = 2**20
SAMPLE_SECONDS = 0.5
FILES = 10
ROW_GROUP = 100_000
EXAMPLES = """\b
Examples:
  python -m benchmarks.batch
  python -m benchmarks.batch --rows 100000 --model artifacts/ranker.tflite
  python -m benchmarks.batch --parity trained/saved_model
"""


@dataclass(frozen=True)
class Measured:
    """One job.

    Attributes:
        rows: scored.
        workers: processes.
        parity: whether Keras scored too.
        seconds: of the pipeline, its processes' start included.
        middle_mib: resident memory of all its processes, the median of the second quarter.
        late_mib: the median of the last quarter.
        peak_mib: the most.
    """

    rows: int
    workers: int
    parity: bool
    seconds: float
    middle_mib: float
    late_mib: float
    peak_mib: float


def main(
    model: Annotated[Path, typer.Option(help="The .tflite file.")] = Path(
        "artifacts/ranker.tflite"
    ),
    rows: Annotated[int, typer.Option(min=FILES, help="Pairs to score.")] = 10_000_000,
    workers: Annotated[list[int] | None, typer.Option(help="Processes; may be repeated.")] = None,
    parity: Annotated[
        Path | None, typer.Option(help="A SavedModel: measure bulk parity as well.")
    ] = None,
    output: Annotated[Path, typer.Option(help="JSON with every number.")] = Path(
        "artifacts/batch.json"
    ),
) -> None:
    """Measures jobs over pairs of the model's own ids, drawn at random."""
    console = Console()
    measured = []
    with tempfile.TemporaryDirectory() as scratch:
        console.print(f"writing {rows:,} pairs")
        write_pairs(model, rows, Path(scratch) / "pairs")
        for reference in (None, parity) if parity else (None,):
            for count in workers or [1, 2]:
                one = _run(model, Path(scratch), rows, count, reference)
                measured.append(one)
                console.print(one, highlight=False)
    record.write(output, [asdict(one) for one in measured])


def write_pairs(model: Path, rows: int, folder: Path) -> None:
    """Writes Parquet files of users and candidates that the model knows."""
    parsed = flatbuffer.read(model)
    random = np.random.default_rng(0)
    folder.mkdir()
    names = ("user_id", "movie_title")
    known = {name: pa.array(flatbuffer.vocabulary(parsed, "score", name)) for name in names}
    for index in range(FILES):
        count = rows // FILES + (index < rows % FILES)
        columns = {
            name: ids.take(pa.array(random.integers(0, len(ids), count))).cast(pa.string())
            for name, ids in known.items()
        }
        path = folder / f"pairs-{index:03d}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=ROW_GROUP)


def _run(model: Path, scratch: Path, rows: int, workers: int, parity: Path | None) -> Measured:
    output = scratch / f"scores-{workers}-{'parity' if parity else 'plain'}"
    command = [sys.executable, "-m", "export.batch", "--quiet", "--model", str(model)]
    command += ["--input", str(scratch / "pairs" / "*.parquet"), "--output", str(output)]
    command += ["--workers", str(workers), *(("--parity", str(parity)) if parity else ())]
    samples: list[int] = []
    process = subprocess.Popen(command)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            samples.append(sum(_resident(pid) for pid in _family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise typer.Exit(code)
    summary = json.loads((output / "summary.json").read_text())
    mib = np.array(samples) / MIB
    quarter = max(len(mib) // 4, 1)
    return Measured(
        rows,
        workers,
        parity is not None,
        summary["seconds"],
        float(np.median(mib[quarter : 2 * quarter])),
        float(np.median(mib[-quarter:])),
        float(mib.max()),
    )


def _family(root: int) -> list[int]:
    """A process and all below it."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold spaces.
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # Ended meanwhile.
    family = [root]
    for member in family:
        family += [pid for pid, parent in parents.items() if parent == member]
    return family


def _resident(pid: int) -> int:
    """Resident bytes that are the process's own: pages shared with others count in parts."""
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in rollup.splitlines() if "Pss:" in line) * 1024


app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command(epilog=EXAMPLES)(main)

if __name__ == "__main__":
    sys.exit(app())
