"""Own ratings' rows a second and memory: `python -m benchmarks.streaming`."""

import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console

from benchmarks import apart, record

MIB = 2**20
USERS, ITEMS = 100_000, 20_000
CHUNK = 1_000_000
EXAMPLES = """\b
Examples:
  python -m benchmarks.streaming
  python -m benchmarks.streaming --rows 3000000 --rows 30000000
"""


@dataclass(frozen=True)
class Streamed:
    """One table, read in a process of its own.

    Attributes:
        rows: of the table, one Parquet file.
        counted: rows a second of the pass that counts ids.
        read: rows a second that training could take, without a model.
        start_mib: resident memory with TensorFlow imported.
        peak_mib: the most there was.
    """

    rows: int
    counted: float
    read: float
    start_mib: float
    peak_mib: float


def main(
    rows: Annotated[list[int] | None, typer.Option(min=10, help="Rows; may be repeated.")] = None,
    output: Annotated[Path, typer.Option(help="JSON with every number.")] = Path(
        "artifacts/streaming.json"
    ),
) -> None:
    """Counts and reads made tables, each once, as training on them would."""
    console = Console()
    streamed = []
    with tempfile.TemporaryDirectory() as scratch:
        for count in rows or [3_000_000, 30_000_000]:
            path = Path(scratch) / f"{count}.parquet"
            console.print(f"writing {count:,} rows")
            write_ratings(path, count)
            measured = apart.last_line("benchmarks.streaming", "--measure", str(path))
            streamed.append(Streamed(**json.loads(measured)))
            console.print(streamed[-1], highlight=False)
    record.write(output, [asdict(one) for one in streamed])


def write_ratings(path: Path, rows: int) -> None:
    """Writes ratings whose ids are as uneven as people's and titles' are (Zipf's law)."""
    random = np.random.default_rng(0)
    schema = pa.schema(
        [("user_id", pa.string()), ("movie_title", pa.string()), ("user_rating", pa.float32())]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            users = pa.array(random.zipf(1.3, count) % USERS).cast(pa.string())
            items = pa.array(random.zipf(1.2, count) % ITEMS).cast(pa.string())
            labels = pa.array(random.integers(1, 6, count).astype(np.float32))
            writer.write_table(pa.table([users, items, labels], schema=schema))


def measure(path: Path) -> Streamed:
    """Counts a table's ids, then reads all its training rows in batches of the tutorial's size."""
    from model import data, presets

    start_mib = apart.peak_bytes() / MIB
    start = time.perf_counter()
    ratings = data.load(str(path))
    counted = time.perf_counter() - start
    batch = presets.PRESETS[presets.TUTORIAL].batch
    start = time.perf_counter()
    read = sum(len(one["user_rating"]) for one in data.split(ratings).train.batch(batch))
    seconds = time.perf_counter() - start
    rates = (ratings.rows / counted, read / seconds)
    return Streamed(ratings.rows, *rates, start_mib, apart.peak_bytes() / MIB)


app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command(epilog=EXAMPLES)(main)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(asdict(measure(Path(sys.argv[2])))))
    else:
        sys.exit(app())
