"""What the signatures and recipes cost in bytes."""

from typing import Any

import pytest

from benchmarks.alone import ScoreAlone
from export import conversion, flatbuffer, quantization
from tests.support import Exported

# Three signatures for the price of one, but for their ops: see docs/decisions/0004.
SIGNATURES_COST = 1.05


@pytest.fixture(scope="module")
def score_alone(exported: Exported) -> bytes:
    return conversion.to_float32(ScoreAlone(exported.ranker))


def test_all_signatures_cost_at_most_a_twentieth(
    exported: Exported, score_alone: bytes, recipe: str
) -> None:
    alone = quantization.apply(quantization.RECIPES[recipe], score_alone)
    assert len(exported.files[recipe]) <= SIGNATURES_COST * len(alone)


@pytest.mark.parametrize(("recipe", "share"), [("int8", 0.34), ("int4", 0.27)])
def test_the_share_of_the_stock_file(
    exported: Exported, keras_model: Any, recipe: str, share: float
) -> None:
    assert len(exported.files[recipe]) <= share * stock_size(keras_model)


def test_vocabulary_strings_stand_once_and_without_their_values(exported: Exported) -> None:
    model = flatbuffer.read(exported.files["int8"])
    stored = [flatbuffer.raw(model, t) for g in model.subgraphs for t in g.tensors if t.buffer]
    for vocabulary in (exported.ranker.users.vocabulary, exported.ranker.candidates.vocabulary):
        assert exported.files["int8"].count(b"".join(v.encode() for v in vocabulary)) == 1
        assert all(data is None or len(data) != 8 * len(vocabulary) for data in stored)


def stock_size(keras_model: Any) -> int:
    """Bytes of the converter's own float32 file of `score` alone, as the tutorial makes it."""
    import tensorflow as tf

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name) for name in ("user_id", "title")]
    )
    def score(user_id: tf.Tensor, title: tf.Tensor) -> tf.Tensor:
        return keras_model({"user_id": user_id, "movie_title": title})

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [score.get_concrete_function()], keras_model
    )
    return len(converter.convert())
