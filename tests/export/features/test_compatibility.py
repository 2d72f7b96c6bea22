from pathlib import Path

import pytest
import tensorflow as tf

from export.features import compatibility, model
from tests.export.features.conftest import Case

layers = tf.keras.layers


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What is said of each layer of a model full of what can't be, by the layer's name."""
    user = tf.keras.Input((), dtype=tf.string, name="user_id")
    review = tf.keras.Input((), dtype=tf.string, name="review")
    hashed = layers.Hashing(10, name="user_hash")(user)
    words = layers.TextVectorization(
        vocabulary=["good", "bad"], output_mode="int", output_sequence_length=4, name="words"
    )(review)
    several = layers.StringLookup(vocabulary=["a"], num_oov_indices=2, name="shared")(user)
    crossed = layers.HashedCrossing(10, output_mode="one_hot", name="crossed")((user, review))
    parts = [layers.Embedding(10, 4)(hashed), layers.Embedding(4, 4)(several), crossed]
    parts.append(layers.Flatten()(layers.Embedding(9, 4)(words)))
    keras = tf.keras.Model([user, review], layers.Dense(1)(tf.concat(parts, axis=1)))
    folder = tmp_path_factory.mktemp("refused")
    keras.save(str(folder))
    with pytest.raises(compatibility.IncompatibleModelError) as error:
        compatibility.check(model.load(folder))
    return {obstacle.layer.name: str(obstacle) for obstacle in error.value.obstacles}


@pytest.mark.parametrize(
    ("layer", "kind", "op", "advice"),
    [
        ("user_hash", "Hashing", "StringToHashBucketFast", "use StringLookup with a vocabulary"),
        ("words", "TextVectorization", "StaticRegexReplace", "before the model"),
        ("shared", "StringLookup", "StringToHashBucketFast", "num_oov_indices=1"),
        ("crossed", "HashedCrossing", "SparseCross", "one string feature"),
    ],
)
def test_each_layer_is_named_with_what_to_change(
    refused: dict[str, str], layer: str, kind: str, op: str, advice: str
) -> None:
    assert refused[layer].startswith(f"{kind} '{layer}': ")
    assert op in refused[layer]
    assert advice in refused[layer]


def test_layers_that_convert_are_not_named(refused: dict[str, str]) -> None:
    assert sorted(refused) == ["crossed", "shared", "user_hash", "words"]


def test_the_examples_have_nothing_in_the_way(dcn: Case, listwise: Case) -> None:
    assert compatibility.obstacles(dcn.model) == ()
    assert compatibility.obstacles(listwise.model) == ()


def test_an_op_that_no_list_has_is_tried(tmp_path: Path) -> None:
    """Bessel functions have no builtin and buckets have one: the converter itself says so."""

    def score(number: tf.Tensor) -> dict[str, tf.Tensor]:
        bucket = tf.raw_ops.Bucketize(input=number, boundaries=[0.0, 1.0])
        return {"score": tf.math.bessel_i0e(tf.cast(bucket, tf.float32))}

    module = tf.Module()
    module.call = tf.function(score, input_signature=[tf.TensorSpec([None], tf.float32, "number")])
    tf.saved_model.save(module, str(tmp_path), signatures={"serving_default": module.call})
    (obstacle,) = compatibility.obstacles(model.load(tmp_path))
    assert obstacle.ops == ("BesselI0e",)


def test_layers_that_convert_only_as_patterns_are_not_named(tmp_path: Path) -> None:
    numbers = tf.keras.Input((3,), name="numbers")
    hidden = layers.LayerNormalization()(layers.Dense(4, activation="gelu")(numbers))
    tf.keras.Model([numbers], layers.Dense(1)(hidden)).save(str(tmp_path))
    assert compatibility.obstacles(model.load(tmp_path)) == ()


def test_a_loop_over_rows_is_named(tmp_path: Path) -> None:
    numbers = tf.keras.Input((3, 2), name="numbers")
    tf.keras.Model([numbers], layers.SimpleRNN(1, name="recent")(numbers)).save(str(tmp_path))
    (obstacle,) = compatibility.obstacles(model.load(tmp_path))
    assert str(obstacle).startswith("SimpleRNN 'recent': TensorListReserve")
    assert "unroll=True" in str(obstacle)
