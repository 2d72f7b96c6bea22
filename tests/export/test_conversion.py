"""Conversion: builtin ops alone; and what the tutorial's own way gives today."""

import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import conversion, flatbuffer, runtime, serving
from export.conversion import ConversionError
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


def tower(rows: int, columns: int) -> serving.Tower:
    """As many known ids of seven bytes, and a table that takes no memory."""
    table = np.broadcast_to(np.float32(0), (rows + 1, columns))
    return serving.Tower(None, ("1234567",) * rows, table)


def too_large(users: int, candidates: int) -> serving.Ranker:
    dense = serving.DenseLayer(np.zeros((2048, 1), np.float32), np.zeros(1, np.float32), False)
    return serving.Ranker(tower(users, 1024), tower(candidates, 1024), (dense,))


def test_estimate_is_near_the_file(exported: Exported) -> None:
    # A tenth, since the estimate is there to tell gigabytes; never under by more than graphs vary.
    estimate = conversion.float32_bytes(exported.ranker)
    assert estimate == pytest.approx(len(exported.float_model), rel=0.1)


@pytest.mark.parametrize(
    ("users", "candidates", "cut"),
    [
        (600_000, 1_000, "--users top:"),
        (400_000, 400_000, "--users top:"),
        (10, 600_000, "--users none --items top:"),
        (600_000, 600_000, "--users none --items top:"),
    ],
)
def test_two_gibibytes_are_told_beforehand_with_a_cut_that_fits(
    users: int, candidates: int, cut: str
) -> None:
    whole = too_large(users, candidates)
    with pytest.raises(ConversionError, match=f"ends at 2 GiB: cut .*{cut}") as raised:
        conversion.of_ranker(whole)
    # "--users top:N, or --users none" offers two: the first one is tried.
    first = str(raised.value).split(", or ", maxsplit=1)[0]
    found = dict(re.findall(r"--(users|items) (?:top:(\d+)|none)", first))
    kept_users = int(found.get("users") or 0)
    kept_items = int(found.get("items") or candidates)
    conversion.check_size(too_large(kept_users, kept_items))
    # And the cut wastes no more than a few hundredths of the room.
    more_users, more_items = kept_users * 21 // 20, kept_items * 21 // 20
    grown = too_large(more_users, kept_items) if kept_users else too_large(0, more_items)
    with pytest.raises(ConversionError):
        conversion.check_size(grown)


def test_tables_are_those_trained(exported: Exported) -> None:
    """TensorFlow never saw them: each stands whole in the float32 file, and no stand-in does."""
    model = flatbuffer.read(exported.float_model)
    for trained in (exported.ranker.users.table, exported.ranker.candidates.table):
        places = [
            flatbuffer.constant(model, tensor)
            for subgraph in model.subgraphs
            for tensor in subgraph.tensors
            if flatbuffer.shape(tensor) == trained.shape
        ]
        stored = [one for one in places if one is not None]
        assert len(stored) == 3  # One tensor a signature.
        assert all(np.array_equal(one, trained) for one in stored)
    shapes = {flatbuffer.shape(t) for subgraph in model.subgraphs for t in subgraph.tensors}
    assert (conversion.STAND_IN_ROWS, 32) not in shapes


def test_a_table_that_the_converter_left_out_is_an_error(exported: Exported) -> None:
    model = flatbuffer.read(exported.float_model)
    stand_in = np.ones((conversion.STAND_IN_ROWS, 32), np.float32)
    with pytest.raises(ConversionError, match="left out an embedding table"):
        conversion._put(model, stand_in, exported.ranker.users.table)
