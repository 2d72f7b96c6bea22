"""Bulk scoring as an Apache Beam pipeline, from Parquet to Parquet.

An element is a block of rows (an Arrow table), since Beam's price is paid by the element. To
RunInference a block is a batch that is made already, so its own metrics count rows. This module
is imported by every worker: TensorFlow comes in only where Keras is asked for.
"""

import contextlib
import dataclasses
import json
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, RunInference

from export import blocks, flatbuffer, runtime
from export.blocks import Columns, Rejected
from export.runtime import RuntimeFailure, Session

# As in export.serving, which imports TensorFlow.
USER, CANDIDATE, SCORE = "user_id", "movie_title", "score"

NAMESPACE = "bulk"
ROWS = "rows"
SCORED = "scored"
DEAD_LETTERS = "dead_letters"
UNKNOWN_USERS = "unknown_users"
UNKNOWN_CANDIDATES = "unknown_candidates"

SCORES_FILES = "scores"
DEAD_LETTER_FILES = "dead-letters"
PARITY_FILE = "parity.json"
SUFFIX = ".parquet"
CODEC = "snappy"
# A block's hidden layer takes 16 MiB; smaller blocks spend more on the way to the runtime.
BLOCK_ROWS = 16_384

_REJECTED = "rejected"
_KEPT = "kept"
_KERAS = "keras_score"


@dataclass(frozen=True)
class Job:
    """What is scored with what; paths may be of any file system that Beam knows.

    Attributes:
        input: a glob of Parquet files.
        output: the folder for what is written.
        model: the `.tflite` file.
        runtime: the runtime's name.
        columns: the columns' names.
        block_rows: rows of a block, at most.
        keras: a SavedModel folder to compare with; None to leave that out.
        label: a column of true ratings, for the RMSE of both; None where there is none.
    """

    input: str
    output: str
    model: str
    runtime: str
    columns: Columns
    block_rows: int = BLOCK_ROWS
    keras: str | None = None
    label: str | None = None


def build(root: beam.Pipeline, job: Job, schema: pa.Schema) -> None:
    """Puts the job's steps on a pipeline, for input files of one schema."""
    columns = job.columns
    sifted = (
        root
        | "Read" >> beam.io.ReadFromParquetBatched(job.input)
        | "CheckIds" >> _sifting(CheckIds(columns, job.block_rows))
    )
    scored, failed = sifted[_KEPT] | "Score" >> RunInference(
        TFLiteHandler(job.model, job.runtime, columns)
    ).with_exception_handling(exc_class=RuntimeFailure)
    checked = scored | "CheckScores" >> _sifting(CheckScores(columns))
    _ = checked[_KEPT] | "Write" >> beam.io.WriteToParquetBatched(
        FileSystems.join(job.output, SCORES_FILES),
        blocks.scored_schema(schema, columns),
        CODEC,
        file_name_suffix=SUFFIX,
    )
    _ = (
        (
            sifted[_REJECTED],
            checked[_REJECTED],
            failed.failed_inferences | "Failed" >> beam.Map(_failed, columns),
        )
        | beam.Flatten()
        | "CountDeadLetters" >> beam.Map(_counted)
        | "WriteDeadLetters"
        >> beam.io.WriteToParquetBatched(
            FileSystems.join(job.output, DEAD_LETTER_FILES),
            blocks.rejected_schema(schema),
            CODEC,
            file_name_suffix=SUFFIX,
        )
    )
    if job.keras is not None:
        _ = (
            checked[_KEPT]
            | "ScoreWithKeras" >> RunInference(KerasHandler(job.keras, columns))
            | "Compare" >> beam.Map(differences, columns, job.label)
            | "Combine" >> beam.CombineGlobally(SumOfDifferences())
            | "AsJson" >> beam.Map(lambda total: json.dumps(dataclasses.asdict(total)))
            | "WriteParity"
            >> beam.io.WriteToText(
                FileSystems.join(job.output, PARITY_FILE), shard_name_template=""
            )
        )


def _sifting(step: beam.DoFn) -> beam.ParDo:
    return beam.ParDo(step).with_outputs(_REJECTED, main=_KEPT)


def _count(name: str, rows: int) -> None:
    Metrics.counter(NAMESPACE, name).inc(rows)


class CheckIds(beam.DoFn):
    """Cuts row groups into blocks, and takes out the rows whose ids can't be scored."""

    def __init__(self, columns: Columns, block_rows: int) -> None:
        self._columns, self._block_rows = columns, block_rows

    def process(self, element: Any) -> Iterator[Any]:
        """Gives blocks, and `Rejected` rows at the side."""
        for block in blocks.cut(element, self._block_rows):
            _count(ROWS, block.num_rows)
            kept, rejected = blocks.sift(block, self._columns)
            if kept.num_rows:
                yield kept
            for one in rejected:
                yield beam.pvalue.TaggedOutput(_REJECTED, one)


class CheckScores(beam.DoFn):
    """Takes out the rows whose score is no number."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def process(self, element: Any) -> Iterator[Any]:
        """Gives blocks, and `Rejected` rows at the side."""
        kept, rejected = blocks.sift_scores(element, self._columns)
        _count(SCORED, kept.num_rows)
        if kept.num_rows:
            yield kept
        for one in rejected:
            yield beam.pvalue.TaggedOutput(_REJECTED, one)


def _failed(entry: tuple[Any, tuple[type, str, list[str]]], columns: Columns) -> Rejected:
    """A block that the runtime failed on twice, with what the runtime said."""
    block, (_, message, _) = entry
    return blocks.reject(block, blocks.RUNTIME, columns.score, message)


def _counted(rejected: Rejected) -> Any:
    _count(f"{DEAD_LETTERS}/{rejected.fault}", rejected.rows.num_rows)
    return rejected.rows


class Scorer:
    """A `.tflite` file in a child process, which is started anew where it fails or dies.

    Threads of one worker share it and wait for one another.
    """

    def __init__(self, model: bytes, runtime_name: str) -> None:
        self._model, self._runtime = model, runtime.named(runtime_name)
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._end: Any = None
        self._open()
        parsed = flatbuffer.read(model)
        self.users = frozenset(flatbuffer.vocabulary(parsed, SCORE, USER))
        self.candidates = frozenset(flatbuffer.vocabulary(parsed, SCORE, CANDIDATE))

    def score(
        self, users: npt.NDArray[np.object_], candidates: npt.NDArray[np.object_]
    ) -> npt.NDArray[np.float32]:
        """Scores pairs: two `object[n]` of UTF-8 bytes to `float32[n]`.

        Raises:
            RuntimeFailure: the runtime failed twice, the second time in a new process.
        """
        with self._lock:
            try:
                return self._score(users, candidates)
            except RuntimeFailure:
                self.close()
            try:
                return self._score(users, candidates)
            except RuntimeFailure:
                self.close()
                raise

    def close(self) -> None:
        """Ends the child process."""
        if self._session is not None:
            self._end()
            self._session = None

    def _open(self) -> Session:
        session = self._runtime.open(self._model)
        # Beam lets go of a model without a word: the child must not outlive it.
        self._end = weakref.finalize(self, session.close)
        self._session = session
        return session

    def _score(
        self, users: npt.NDArray[np.object_], candidates: npt.NDArray[np.object_]
    ) -> npt.NDArray[np.float32]:
        session = self._session or self._open()
        scores = session.run(SCORE, **{USER: users, CANDIDATE: candidates})[SCORE]
        if scores.shape != users.shape:
            raise RuntimeFailure(f"{len(users)} pairs gave scores of shape {scores.shape}")
        return scores


class _BlockHandler(ModelHandler):
    """What handlers of blocks have in common: a block is a whole batch, `len` its rows."""

    def __init__(self, path: str, columns: Columns) -> None:
        super().__init__()
        self._path, self._columns = path, columns

    def should_skip_batching(self) -> bool:
        """Blocks are batches already."""
        return True

    def get_num_bytes(self, batch: Any) -> int:
        """Bytes of a block."""
        return int(batch.nbytes)

    def get_metrics_namespace(self) -> str:
        """Where Beam puts latency and sizes."""
        return type(self).__name__


class TFLiteHandler(_BlockHandler):
    """Scores blocks with a `.tflite` file: one child process with an interpreter a worker."""

    def __init__(self, path: str, runtime_name: str, columns: Columns) -> None:
        super().__init__(path, columns)
        self._runtime = runtime_name

    def load_model(self) -> Scorer:
        """Reads the file from wherever it is, and starts the child."""
        with FileSystems.open(self._path) as stream:
            return Scorer(stream.read(), self._runtime)

    def run_inference(
        self, batch: Any, model: Scorer, inference_args: dict[str, Any] | None = None
    ) -> Sequence[Any]:
        """Adds the score column to a block, and counts its unknown ids.

        Raises:
            RuntimeFailure: the runtime failed twice.
        """
        users, candidates = (blocks.ids(batch[name]) for name in self._columns.ids)
        scores = model.score(users.values(), candidates.values())
        _count(UNKNOWN_USERS, users.unknown(model.users))
        _count(UNKNOWN_CANDIDATES, candidates.unknown(model.candidates))
        return [batch.append_column(self._columns.score, pa.array(scores, pa.float32()))]


class KerasHandler(_BlockHandler):
    """Scores blocks with the trained Keras model, on one thread: workers are the parallelism."""

    def load_model(self) -> Any:
        """Loads the SavedModel.

        Raises:
            ModelError: it can't be loaded.
        """
        import tensorflow as tf

        from export import serving

        # Too late, and left as it is, where this process has used TensorFlow before.
        with contextlib.suppress(RuntimeError):
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        return serving.load(Path(self._path))

    def run_inference(
        self, batch: Any, model: Any, inference_args: dict[str, Any] | None = None
    ) -> Sequence[Any]:
        """Adds Keras's scores to a block, beside the file's."""
        import tensorflow as tf

        names = zip((USER, CANDIDATE), self._columns.ids, strict=True)
        features = {
            name: tf.constant(blocks.ids(batch[column]).values(), tf.string)
            for name, column in names
        }
        scores = np.asarray(model(features), np.float32).reshape(-1)
        return [batch.append_column(_KERAS, pa.array(scores))]


@dataclass(frozen=True)
class Differences:
    """The file's scores against Keras's, summed over rows.

    Attributes:
        rows: how many.
        max_abs: the largest difference; NaN where Keras gave NaN.
        sum_abs: of all differences.
        labels: how many rows have a true rating.
        file_squares: the file's squared errors over those.
        keras_squares: Keras's.
    """

    rows: int = 0
    max_abs: float = 0.0
    sum_abs: float = 0.0
    labels: int = 0
    file_squares: float = 0.0
    keras_squares: float = 0.0

    def __add__(self, other: "Differences") -> "Differences":
        return Differences(
            self.rows + other.rows,
            float(np.maximum(self.max_abs, other.max_abs)),  # Unlike max, NaN stays.
            self.sum_abs + other.sum_abs,
            self.labels + other.labels,
            self.file_squares + other.file_squares,
            self.keras_squares + other.keras_squares,
        )


def differences(table: pa.Table, columns: Columns, label: str | None) -> Differences:
    """Compares the two score columns of one block."""
    scores, keras = (table[name].to_numpy().astype(np.float64) for name in (columns.score, _KERAS))
    apart = np.abs(scores - keras)
    total = Differences(len(apart), float(apart.max()), float(apart.sum()))
    if label is None:
        return total
    labels = table[label].cast(pa.float64()).to_numpy()  # A null is NaN.
    there = np.isfinite(labels)
    return dataclasses.replace(
        total,
        labels=int(there.sum()),
        file_squares=float(np.sum((scores - labels)[there] ** 2)),
        keras_squares=float(np.sum((keras - labels)[there] ** 2)),
    )


class SumOfDifferences(beam.CombineFn):
    """Sums `Differences`, in any order and in parts."""

    def create_accumulator(self) -> Differences:
        """Nothing yet."""
        return Differences()

    def add_input(self, mutable_accumulator: Differences, element: Differences) -> Differences:
        """One more block."""
        return mutable_accumulator + element

    def merge_accumulators(self, accumulators: Iterable[Differences]) -> Differences:
        """Parts of the whole."""
        return sum(accumulators, Differences())

    def extract_output(self, accumulator: Differences) -> Differences:
        """The sum itself."""
        return accumulator
