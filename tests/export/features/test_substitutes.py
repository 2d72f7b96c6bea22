"""Each substitute against the op that it stands for, in TensorFlow."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given
from hypothesis import strategies as st

from export import conversion
from export.features import compatibility, model
from export.features.graph import Table
from export.features.serving import FeatureModule
from export.features.substitutes import IntegerTable, StringTable
from tests import support

layers = tf.keras.layers
INT64 = st.integers(-(2**63), 2**63 - 1)
HIGHEST, LOWEST = 2**63 - 1, -(2**63)


@given(st.lists(INT64, min_size=1, max_size=20, unique=True), st.lists(INT64, min_size=1))
@example([HIGHEST, LOWEST], [HIGHEST, LOWEST, 0])
@example([5], [4, 5, 6])
def test_binary_search_finds_what_a_table_finds(keys: list[int], others: list[int]) -> None:
    values = np.arange(100, 100 + len(keys))
    search = IntegerTable(Table(np.array(keys), values))
    asked = [*keys, *others, *(max(key - 1, LOWEST) for key in keys)]
    expected = dict(zip(keys, values, strict=True))
    found = search.find(tf.constant(asked, tf.int64), tf.constant(-1, tf.int64)).numpy()
    assert found.tolist() == [expected.get(one, -1) for one in asked]


@pytest.mark.parametrize("dtype", [np.int64, np.float32, object])
def test_strings_to_values_of_any_type(dtype: type) -> None:
    values = np.array([b"7", b"9"], object) if dtype is object else np.array([7, 9], dtype)
    table = StringTable(Table(np.array([b"b", b"a"], object), values))
    unknown = tf.constant(b"none") if dtype is object else tf.constant(-1, dtype)
    found = table.find(tf.constant([["a", "b"], ["c", ""]]), unknown).numpy()
    first, second, other = values[1], values[0], unknown.numpy()
    assert found.tolist() == [[first, second], [other, other]]


def encoded(numbers: tf.Tensor, mode: str) -> tf.Tensor:
    return layers.CategoryEncoding(5, output_mode=mode)(numbers)


def test_all_of_them_in_a_file(tmp_path: Path) -> None:
    """Look-ups adapted and given, inverted, masked; encodings; a table indexed by a number."""
    tags = tf.keras.Input((3,), dtype=tf.string, name="tags")
    slot = tf.keras.Input((1,), dtype=tf.int32, name="slot")
    year = tf.keras.Input((), dtype=tf.int64, name="year")
    adult = tf.keras.Input((), dtype=tf.bool, name="adult")
    lookup = layers.StringLookup(mask_token="", num_oov_indices=1)
    lookup.adapt(tf.constant(["drama", "comedy", "comedy", "war"]))
    years = layers.IntegerLookup(vocabulary=[1990, 1995, 2000, -7], num_oov_indices=3)
    parts = [
        layers.Flatten()(layers.Embedding(6, 4)(lookup(tags))),
        layers.Embedding(8, 4)(years(year)),
        *(encoded(slot, mode) for mode in ("one_hot", "multi_hot", "count")),
        layers.IntegerLookup(vocabulary=[1, 2], output_mode="multi_hot")(slot),
        tf.cast(adult, tf.float32)[:, None],
        tf.cast(layers.Discretization(bin_boundaries=[1991.0, 1999.0])(year), tf.float32)[:, None],
    ]
    keras = tf.keras.Model([tags, slot, year, adult], layers.Dense(1)(tf.concat(parts, 1)))
    keras.save(tmp_path / "ranker.keras")
    trained = model.load(tmp_path / "ranker.keras")
    compatibility.check(trained)
    inputs = {
        "tags": np.array([[b"drama", b"", b"war"], [b"comedy", b"no", b"no"]] * 4, object),
        "slot": np.array([[0], [1], [2], [3], [4], [0], [1], [2]], np.int32),
        "year": np.array([1990, 1995, 2000, -7, 0, 1, -1, HIGHEST]),
        "adult": np.array([True, False] * 4),
    }
    (expected,) = trained.score(inputs).values()
    given_to_keras = {name: tf.constant(values) for name, values in inputs.items()}
    # The same sums of some twenty products each, in another order.
    np.testing.assert_allclose(expected, np.ravel(keras(given_to_keras)), atol=1e-5)
    file = conversion.to_float32(FeatureModule(trained))
    with support.warm(support.NEWEST).open(file) as session:
        (scores,) = session.run("score", **inputs).values()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
