"""A bulk job from outside: its inputs, how it went, and that no row was lost."""

import json
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import Pipeline
from apache_beam.runners.runner import PipelineState

from export import beam
from export.beam import Differences, Job

if TYPE_CHECKING:
    from export.gate import Breach, Limits

SUMMARY_FILE = "summary.json"
FORMAT_VERSION = 1
FOOTER_READERS = 16


class BulkError(ValueError):
    """The job can't be started as asked for; the message says what to do."""


@dataclass(frozen=True)
class Inputs:
    """What a glob of Parquet files holds, by the files' own footers."""

    files: int
    rows: int
    schema: pa.Schema


@dataclass(frozen=True)
class Summary:
    """How a job went.

    Attributes:
        input_rows: rows of the input files, by their footers.
        rows: rows read, as counted by the workers.
        scored: rows scored, likewise.
        written: rows of the score files, by their footers.
        dead_letters: rows not scored, by fault, as counted by the workers.
        dead_letters_written: rows of the dead-letter files, by their footers.
        unknown_users: scored rows whose user is out of vocabulary.
        unknown_candidates: likewise.
        parity: the scores against Keras's, where that was asked for.
    """

    input_rows: int
    rows: int
    scored: int
    written: int
    dead_letters: dict[str, int]
    dead_letters_written: int
    unknown_users: int
    unknown_candidates: int
    parity: Differences | None = None

    def losses(self) -> list[str]:
        """Where counts disagree, in words; empty where every row is accounted for."""
        dead = sum(self.dead_letters.values())
        pairs = {
            "rows read": (self.rows, "rows in the input", self.input_rows),
            "rows scored and dead letters": (self.scored + dead, "rows read", self.rows),
            "rows in the score files": (self.written, "rows scored", self.scored),
            "rows in the dead-letter files": (self.dead_letters_written, "dead letters", dead),
        }
        if self.parity is not None:
            pairs["rows compared with Keras"] = (self.parity.rows, "rows scored", self.scored)
        return [
            f"{left:,} {name}, but {right:,} {other}"
            for name, (left, other, right) in pairs.items()
            if left != right
        ]


def inspect(job_input: str) -> Inputs:
    """Reads the footers of all input files.

    Raises:
        BulkError: there are none, one is not Parquet, or their columns differ.
    """
    paths = _match(job_input)
    if not paths:
        raise BulkError(f"no file matches {job_input}")
    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        footers = list(pool.map(_footer, paths))
    schema = footers[0][1].remove_metadata()
    for path, (_, other) in zip(paths, footers, strict=True):
        if not schema.equals(other):
            raise BulkError(
                f"{path} has other columns than {paths[0]}: score files of one kind at a time"
            )
    return Inputs(len(paths), sum(rows for rows, _ in footers), schema)


def absolute(path: str) -> str:
    """A local path from the root, since workers may run elsewhere; others as they are."""
    return path if "://" in path else str(Path(path).absolute())


def read(path: str) -> bytes:
    """A whole file, of any file system that Beam knows.

    Raises:
        BulkError: it can't be read.
    """
    try:
        with FileSystems.open(path) as stream:
            return bytes(stream.read())
    except (BeamIOError, OSError, ValueError) as error:
        raise BulkError(f"can't read {path}: {error}") from error


def check_output(folder: str) -> None:
    """Makes sure that no earlier job's files stand in the output folder.

    Raises:
        BulkError: some do: shards of two jobs must not mix.
    """
    for name in (beam.SCORES_FILES, beam.DEAD_LETTER_FILES):
        if _match(FileSystems.join(folder, f"{name}-*")):
            raise BulkError(
                f"{folder} holds an earlier job's {name}: remove them, or choose another --output"
            )


def run(job: Job, inputs: Inputs, flags: list[str]) -> Summary:
    """Runs a job to its end.

    Args:
        job: what to score.
        inputs: of that job, as `inspect` found them.
        flags: Beam's own, `--runner` among them.

    Raises:
        RuntimeError: the runner gave up.
    """
    pipeline = Pipeline(options=PipelineOptions(flags))
    beam.build(pipeline, job, inputs.schema)
    result = pipeline.run()
    state = result.wait_until_finish()
    if state not in (None, PipelineState.DONE):
        raise RuntimeError(f"the runner ended in the state {state}")
    counts = _counters(result)
    letters = f"{beam.DEAD_LETTERS}/"
    return Summary(
        input_rows=inputs.rows,
        rows=counts.get(beam.ROWS, 0),
        scored=counts.get(beam.SCORED, 0),
        written=_written(job.output, beam.SCORES_FILES),
        dead_letters={
            name.removeprefix(letters): count
            for name, count in sorted(counts.items())
            if name.startswith(letters)
        },
        dead_letters_written=_written(job.output, beam.DEAD_LETTER_FILES),
        unknown_users=counts.get(beam.UNKNOWN_USERS, 0),
        unknown_candidates=counts.get(beam.UNKNOWN_CANDIDATES, 0),
        parity=None if job.keras is None else _parity(job.output),
    )


def breaches(total: Differences, limits: "Limits") -> Iterator["Breach"]:
    """Figures of a bulk parity that break a recipe's limits."""
    from export.gate import Breach  # It imports TensorFlow, which scoring alone does without.

    figures = [
        ("rows compared", -float(total.rows), -1.0),
        ("largest error", total.max_abs, limits.max_abs),
        ("mean error", total.sum_abs / max(total.rows, 1), limits.mean_abs),
    ]
    if total.labels:
        file, keras = rmse(total)
        figures.append(("RMSE delta", abs(file - keras), limits.rmse_delta))
    for figure, value, limit in figures:
        # A NaN keeps no limit: hence "not within" rather than "beyond".
        if not value <= limit:
            yield Breach("all rows", figure, value, limit)


def rmse(total: Differences) -> tuple[float, float]:
    """Root mean squared errors over the rows with a true rating: the file's, and Keras's."""
    count = max(total.labels, 1)
    return math.sqrt(total.file_squares / count), math.sqrt(total.keras_squares / count)


def publish(folder: str, summary: Summary, facts: Mapping[str, Any]) -> None:
    """Writes the summary, the last file of a job: where it stands, the job is done."""
    content = {"format_version": FORMAT_VERSION, **asdict(summary), **facts}
    final = FileSystems.join(folder, SUMMARY_FILE)
    partial = FileSystems.join(folder, f".{SUMMARY_FILE}.partial")
    with FileSystems.create(partial) as stream:
        stream.write(json.dumps(content, indent=1).encode() + b"\n")
    if FileSystems.exists(final):
        FileSystems.delete([final])
    FileSystems.rename([partial], [final])


def _match(pattern: str) -> list[str]:
    try:
        found = FileSystems.match([pattern])[0].metadata_list
    except BeamIOError as error:
        raise BulkError(f"can't look for {pattern}: {error}") from error
    return sorted(one.path for one in found)


def _footer(path: str) -> tuple[int, pa.Schema]:
    try:
        with FileSystems.open(path) as stream:
            file = pyarrow.parquet.ParquetFile(stream)
            return file.metadata.num_rows, file.schema_arrow
    except (pa.ArrowException, BeamIOError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise BulkError(f"{path} can't be read as Parquet: {reason}") from error


def _written(folder: str, name: str) -> int:
    paths = _match(FileSystems.join(folder, f"{name}-*"))
    with ThreadPoolExecutor(FOOTER_READERS) as pool:
        return sum(rows for rows, _ in pool.map(_footer, paths))


def _parity(folder: str) -> Differences:
    with FileSystems.open(FileSystems.join(folder, beam.PARITY_FILE)) as stream:
        return Differences(**json.loads(stream.read()))


def _counters(result: Any) -> dict[str, int]:
    """Our counters over all steps: what was committed, or attempted where a runner can't tell."""
    totals: dict[str, int] = {}
    found = result.metrics().query(MetricsFilter().with_namespace(beam.NAMESPACE))
    for counter in found["counters"]:
        name = counter.key.metric.name
        value = counter.attempted if counter.committed is None else counter.committed
        totals[name] = totals.get(name, 0) + value
    return totals
