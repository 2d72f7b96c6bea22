"""Quantization: its arithmetic for any numbers, and what the recipes write."""

import numpy as np
import pytest
from ai_edge_quantizer import quantizer
from ai_edge_quantizer import recipe as quantizer_recipe
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from export import conversion, flatbuffer, quantization, serving
from export.quantization import INT4_LEVELS, INT8_LEVELS
from tests.support import Array, Exported, ops_named

LEVELS = pytest.mark.parametrize("levels", [INT8_LEVELS, INT4_LEVELS])
# A row that holds numbers beyond this could overflow float32 when it is widened again.
LARGEST = float(np.finfo(np.float32).max) / 2
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)
tables = hnp.arrays(
    np.float32, shapes, elements=st.floats(-LARGEST, LARGEST, width=32, allow_nan=False)
)
# Rows of very different sizes: 1e-30 beside 1e30.
mixed = st.builds(
    lambda table, powers: table * np.float32(10.0) ** np.array(powers[: len(table)])[:, None],
    hnp.arrays(np.float32, (6, 5), elements=st.floats(-1, 1, width=32)),
    st.lists(st.integers(-30, 30), min_size=6, max_size=6),
).map(lambda table: table.astype(np.float32))


def assert_close_enough(table: Array, rows: quantization.QuantizedRows, levels: int) -> None:
    scales = rows.scales.astype(np.float64)
    error = np.abs(rows.widened.astype(np.float64) - table.astype(np.float64))
    # Half a step by rounding; then scales and products are float32, 2**-23 of the value each.
    allowed = scales / 2 + np.abs(table.astype(np.float64)) * 2.0**-22
    assert (error <= allowed).all()
    assert np.abs(rows.values.astype(int)).max() <= levels
    assert rows.values.shape == table.shape and rows.values.dtype == np.int8
    assert rows.codes.shape == (len(table), 1)
    assert rows.codes.min() >= 1
    assert (rows.scales > 0).all() and np.isfinite(rows.scales).all()


@LEVELS
@given(table=tables | mixed)
def test_rows_differ_by_half_a_step_at_most(levels: int, table: Array) -> None:
    assert_close_enough(table, quantization.quantize_rows(table, levels), levels)


@LEVELS
@given(table=mixed)
def test_a_rows_step_is_the_finest_or_one_unit_more(levels: int, table: Array) -> None:
    rows = quantization.quantize_rows(table, levels)
    finest = np.abs(table.astype(np.float64)).max(axis=1, keepdims=True) / levels
    # A float32's rounding, 2**-23, of the unit and of the product.
    assert (rows.scales <= (finest + rows.unit) * (1 + 2.0**-22)).all()


@LEVELS
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_rows_of_one_size(levels: int, size: float) -> None:
    table = np.array([[size, -size, 0.0, size / 2]] * 3, np.float32)
    rows = quantization.quantize_rows(table, levels)
    assert_close_enough(table, rows, levels)
    if size == 0:
        assert not rows.values.any()


def test_rows_by_hand() -> None:
    table = np.array([[127.0, -63.5, 0.4], [1.0, 0.26, -1.0]], np.float32)
    rows = quantization.quantize_rows(table)
    # The unit is the widest row's scale, 1, over 127. The second row's finest scale, 1 / 127,
    # is one unit.
    assert rows.codes.tolist() == [[127], [1]]
    assert rows.values.tolist() == [[127, -64, 0], [127, 33, -127]]


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=3, max_side=8), elements=st.floats(-9, 9, width=32)
    )
)
def test_tensor_differs_by_half_a_step_at_most(weights: Array) -> None:
    values, scale = quantization.quantize_tensor(weights)
    assert values.shape == weights.shape and values.dtype == np.int8
    assert scale.shape == (1,) and scale[0] > 0
    error = np.abs(values.astype(np.float64) * float(scale[0]) - weights)
    assert (error <= float(scale[0]) / 2 + np.abs(weights) * 2.0**-22).all()


@given(
    hnp.arrays(
        np.int8,
        st.tuples(st.integers(1, 9), st.integers(1, 9).map(lambda half: 2 * half)),
        elements=st.integers(-INT4_LEVELS, INT4_LEVELS),
    )
)
def test_packed_pairs_unpack(values: Array) -> None:
    packed = quantization.pack_pairs(values)
    assert packed.shape == (values.shape[0], values.shape[1] // 2)
    assert packed.dtype == np.int8
    assert np.array_equal(quantization.unpack_pairs(packed), values)


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(quantization.UnknownRecipeError) as error:
        quantization.recipe_named("int2")
    assert "'int2'" in str(error.value)
    assert all(name in str(error.value) for name in quantization.RECIPES)


def test_same_weights_give_the_same_bytes(exported: Exported) -> None:
    again = conversion.to_float32(serving.ServingModule(exported.ranker))
    assert again == exported.float_model
    for name, recipe in quantization.RECIPES.items():
        assert quantization.apply(recipe, again) == exported.files[name]


def test_each_recipe_is_smaller_than_float32(exported: Exported) -> None:
    sizes = {name: len(file) for name, file in exported.files.items()}
    # Bytes of the tables and dense kernels a value: 4, 2, 1 and ½; vocabularies stay as they are.
    assert sizes["int4"] < sizes["int8"] < sizes["float16"] < sizes["float32"]
    assert sizes["int8"] < 0.4 * sizes["float32"]


def test_tables_are_stored_as_the_recipe_says(exported: Exported, recipe: str) -> None:
    sizes = flatbuffer.tensor_sizes(flatbuffer.read(exported.files[recipe]))
    kind = quantization.RECIPES[recipe].tables
    columns, stored = {
        "float32": (32, "FLOAT32"),
        "float16": (32, "FLOAT16"),
        "int8": (32, "INT8"),
        "int4": (16, "INT8"),
    }[kind]
    for rows in (944, 1665):
        found = [size for size in sizes if size.shape == (rows, columns)]
        assert [size.dtype for size in found] == [stored]


def test_small_tables_are_never_widened_whole(exported: Exported, recipe: str) -> None:
    model = flatbuffer.read(exported.files[recipe])
    kind = quantization.RECIPES[recipe]
    # float16 is widened at load by three signatures, each for its two tables.
    expected = {"float32": 0, "float16": 6}.get(kind.tables, 0)
    assert flatbuffer.widened_tables(model) == expected
    assert kind.keeps_tables_small == (kind.tables in ("int8", "int4"))


def test_gathered_rows_are_the_quantized_rows(exported: Exported) -> None:
    """The int8 file's tables hold exactly what `quantize_rows` gives for the trained ones."""
    model = flatbuffer.read(exported.files["int8"])
    stored = [
        flatbuffer.constant(model, graph.tensors[flatbuffer.inputs(op)[0]])
        for graph, op in ops_named(model, "GATHER")
    ]
    for tower in (exported.ranker.users, exported.ranker.candidates):
        expected = quantization.quantize_rows(tower.table).values
        assert any(
            table is not None and table.shape == expected.shape and np.array_equal(table, expected)
            for table in stored
        )


def dense_weights(model: flatbuffer.Model) -> dict[tuple[int, ...], tuple[Array, Array]]:
    """Dequantized dense weights and their scales, by shape (each layer has its own)."""
    found: dict[tuple[int, ...], tuple[Array, Array]] = {}
    for graph, op in ops_named(model, "DEQUANTIZE"):
        tensor = graph.tensors[flatbuffer.inputs(op)[0]]
        values = flatbuffer.constant(model, tensor)
        if values is None or values.dtype != np.int8:
            continue
        scale = np.asarray(tensor.quantization.scale, np.float64)
        broad = scale.reshape(-1, *[1] * (values.ndim - 1))
        found.setdefault(flatbuffer.shape(tensor), (values * broad, scale))
    return found


def test_dense_weights_agree_with_ai_edge_quantizer(exported: Exported) -> None:
    """Google's quantizer, weights only, gives the same weights within one of our steps."""
    theirs_file = quantizer.Quantizer(
        exported.float_model, quantizer_recipe.weight_only_wi8_afp32()
    ).quantize(enable_progress_report=False)
    theirs = dense_weights(flatbuffer.read(bytes(theirs_file.quantized_model)))
    ours = dense_weights(flatbuffer.read(exported.files["int8"]))
    # The first layer's halves have one shape; the last layer is too small to be worth it.
    assert set(ours) >= {(256, 32), (64, 256)}
    for shape, (weights, scale) in ours.items():
        if shape in theirs and shape != (256, 32):
            # Each lies within half of its own step of the float weight, and a step for each
            # channel is never coarser than one for the layer.
            assert np.abs(weights - theirs[shape][0]).max() <= scale[0]
            assert np.abs(weights - theirs[shape][0]).max() > 0
    assert (64, 256) in theirs
