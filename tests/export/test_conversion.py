"""Conversion: builtin ops alone; and what the tutorial's own way gives today."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import conversion, flatbuffer, runtime
from model import ranking
from tests.export.test_gate import Flex
from tests.support import RUNTIMES, Exported, warm

MENDED = (
    "Upstream has mended this: {}. Drop the work-around that it calls for in export/serving.py "
    "and export/quantization.py once the oldest runtime supported has it, then this test, and "
    "bring the table in docs/ up to date."
)


def test_every_op_is_a_builtin(exported: Exported, recipe: str) -> None:
    uses = flatbuffer.op_uses(flatbuffer.read(exported.files[recipe]))
    assert not [use for use in uses if use.op.startswith("CUSTOM")]
    assert {"HASHTABLE", "HASHTABLE_IMPORT", "HASHTABLE_FIND", "GATHER"} <= {u.op for u in uses}


def test_op_without_a_builtin_is_refused() -> None:
    with pytest.raises(conversion.ConversionError, match="converter failed"):
        conversion.to_float32(Flex())


class Tutorial(tf.Module):
    """The tutorial's model as it is, called with its features."""

    def __init__(self, model: ranking.MovielensModel) -> None:
        super().__init__()
        self.model = model

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "user_id"),
            tf.TensorSpec([None], tf.string, "movie_title"),
        ]
    )
    def score(self, user_id: tf.Tensor, movie_title: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": self.model({"user_id": user_id, "movie_title": movie_title})}


@pytest.fixture(scope="module")
def tutorial_folder(
    keras_model: ranking.MovielensModel, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("tutorial")
    module = Tutorial(keras_model)
    tf.saved_model.save(module, str(folder), signatures={"score": module.score})
    return folder


@pytest.fixture(scope="module")
def tutorial_float32(tutorial_folder: Path) -> bytes:
    return bytes(tf.lite.TFLiteConverter.from_saved_model(str(tutorial_folder)).convert())


@pytest.fixture(scope="module")
def tutorial_optimized(tutorial_folder: Path) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tutorial_folder))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def score(session: runtime.Session, exported: Exported) -> float:
    """The largest error on the test pairs."""
    pairs = exported.reference.test
    inputs = {"user_id": pairs.users, "movie_title": pairs.candidates}
    scores = session.run("score", **inputs)["score"].reshape(-1)
    return float(np.abs(scores - pairs.scores).max())


def test_upstream_float32_works(
    tutorial_float32: bytes, exported: Exported, runtime_name: str
) -> None:
    with warm(runtime_name).open(tutorial_float32) as session:
        # float32 near 4 has steps of 2.4e-7; sums in another order take some tens of them.
        assert score(session, exported) <= 1e-5


@pytest.mark.parametrize("runtime_name", [name for name in RUNTIMES if name != "tflite-runtime"])
def test_upstream_optimized_fails_at_its_first_run(
    tutorial_optimized: bytes, exported: Exported, runtime_name: str
) -> None:
    """It converts and loads, then XNNPACK: failed to create XNNPACK Value for tensor -1."""
    session = warm(runtime_name).open(tutorial_optimized)
    try:
        error = score(session, exported)
    except runtime.RuntimeFailure as failure:
        assert "score failed" in str(failure)
    else:
        what = f"Optimize.DEFAULT now runs on {runtime_name}, {error:.2g} from Keras"
        pytest.fail(MENDED.format(what))


@pytest.mark.skipif(
    "tflite-runtime" not in RUNTIMES, reason="tflite-runtime has no wheels for this Python"
)
def test_upstream_optimized_does_not_load_in_the_older_runtime(tutorial_optimized: bytes) -> None:
    try:
        warm("tflite-runtime").open(tutorial_optimized)
    except runtime.RuntimeFailure as failure:
        assert "FULLY_CONNECTED" in str(failure) and "version '12'" in str(failure)
    else:
        pytest.fail(MENDED.format("Optimize.DEFAULT now loads in tflite-runtime"))


def test_upstream_optimized_widens_the_tables(tutorial_optimized: bytes) -> None:
    """int8 on disk, but float32 as well in memory."""
    widened = flatbuffer.widened_tables(flatbuffer.read(tutorial_optimized))
    assert widened == 2, MENDED.format("Optimize.DEFAULT now gathers int8 rows")
