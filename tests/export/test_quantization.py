"""Quantization: its arithmetic for any numbers, and what the recipes write."""

import numpy as np
import pytest
from ai_edge_quantizer import quantizer
from ai_edge_quantizer import recipe as quantizer_recipe
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from export import conversion, flatbuffer, quantization, rounding, serving
from export.rounding import INT4_LEVELS, INT8_LEVELS
from tests.support import Array, Exported, ops_named

INT8 = quantization.RECIPES["int8"]
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


def assert_close_enough(table: Array, rows: rounding.QuantizedRows, levels: int) -> None:
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
    assert_close_enough(table, rounding.quantize_rows(table, levels), levels)


@LEVELS
@given(table=mixed)
def test_a_rows_step_is_the_finest_or_one_unit_more(levels: int, table: Array) -> None:
    rows = rounding.quantize_rows(table, levels)
    finest = np.abs(table.astype(np.float64)).max(axis=1, keepdims=True) / levels
    # A float32's rounding, 2**-23, of the unit and of the product.
    assert (rows.scales <= (finest + rows.unit) * (1 + 2.0**-22)).all()


@LEVELS
@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e20, 1e38])
def test_rows_of_one_size(levels: int, size: float) -> None:
    table = np.array([[size, -size, 0.0, size / 2]] * 3, np.float32)
    rows = rounding.quantize_rows(table, levels)
    assert_close_enough(table, rows, levels)
    if size == 0:
        assert not rows.values.any()


def test_rows_by_hand() -> None:
    # All of these are exact in float32. The unit is the widest row's step over 127: a quarter.
    widest = 127 * 127 / 4
    table = np.array([[widest, -15.9, 60], [31.75, 8.3, -31.75], [40, 0.6, -8.2]], np.float32)
    rows = rounding.quantize_rows(table)
    assert rows.unit == 0.25
    # Steps of 31.75 and 0.25; the third row's finest one, 0.315, goes up to two units.
    assert rows.codes.tolist() == [[127], [1], [2]]
    assert rows.values.tolist() == [[127, -1, 2], [127, 33, -127], [80, 1, -16]]


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=3, max_side=8), elements=st.floats(-9, 9, width=32)
    )
)
def test_tensor_differs_by_half_a_step_at_most(weights: Array) -> None:
    values, scale = rounding.quantize_tensor(weights)
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
    packed = rounding.pack_pairs(values)
    assert packed.shape == (values.shape[0], values.shape[1] // 2)
    assert packed.dtype == np.int8
    assert np.array_equal(rounding.unpack_pairs(packed), values)


def test_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(quantization.UnknownRecipeError) as error:
        quantization.recipe_named("int2")
    assert "'int2'" in str(error.value)
    assert all(name in str(error.value) for name in quantization.RECIPES)


def test_same_weights_give_the_same_bytes(exported: Exported) -> None:
    # The converter's own file names tensors by how often a layer was saved: recipes drop that.
    again = conversion.of_ranker(exported.ranker)
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
        expected = rounding.quantize_rows(tower.table).values
        assert any(
            table is not None and table.shape == expected.shape and np.array_equal(table, expected)
            for table in stored
        )


def with_buffers_inside(file: bytes) -> flatbuffer.Model:
    """A model whose large constants stand after the flatbuffer, as Google's quantizer does it."""
    model = flatbuffer.read(file)
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(file, np.uint8, buffer.size, buffer.offset)
    return model


def dense_weights(model: flatbuffer.Model, shape: tuple[int, ...]) -> list[tuple[Array, Array]]:
    """The dequantized dense weights of a shape and their scales, each once."""
    found: dict[bytes, tuple[Array, Array]] = {}
    for graph, op in ops_named(model, "DEQUANTIZE"):
        tensor = graph.tensors[flatbuffer.inputs(op)[0]]
        values = flatbuffer.constant(model, tensor)
        if values is not None and values.dtype == np.int8 and values.shape == shape:
            scales = np.asarray(tensor.quantization.scale, np.float64).reshape(-1, 1)
            found[values.tobytes()] = (values * scales, scales)
    return list(found.values())


@pytest.fixture(scope="module")
def whole(ranker: serving.Ranker) -> bytes:
    """The float32 model with every unit as trained: its second kernel is large enough to round."""
    return conversion.of_ranker(ranker)


# The first layer's two halves are one shape.
@pytest.mark.parametrize(("shape", "count"), [((256, 32), 2), ((64, 256), 1)])
def test_dense_weights_agree_with_ai_edge_quantizer(
    whole: bytes, shape: tuple[int, ...], count: int
) -> None:
    """Google's quantizer, weights only, gives the same weights within one of our steps."""
    recipe = quantizer_recipe.weight_only_wi8_afp32()
    quantized = quantizer.Quantizer(whole, recipe).quantize(enable_progress_report=False)
    theirs = dense_weights(with_buffers_inside(bytes(quantized.quantized_model)), shape)
    ours = dense_weights(flatbuffer.read(quantization.apply(INT8, whole)), shape)
    assert len(ours) == len(theirs) == count
    for weights, scales in ours:
        assert scales.shape == (1, 1)
        nearest = min(theirs, key=lambda other: float(np.abs(weights - other[0]).max()))
        # Each lies within half of its own step of the float weight, and one step a channel is
        # never coarser than one a layer.
        assert (nearest[1] <= scales * (1 + 1e-6)).all()
        assert 0 < np.abs(weights - nearest[0]).max() <= scales[0, 0]


def test_dense_weights_are_within_half_a_step_of_the_trained_ones(
    whole: bytes, ranker: serving.Ranker
) -> None:
    model = flatbuffer.read(quantization.apply(INT8, whole))
    first, second = ranker.dense[0].kernel.T, ranker.dense[1].kernel.T
    trained = {(256, 32): [first[:, :32], first[:, 32:]], (64, 256): [second]}
    for shape, kernels in trained.items():
        stored = dense_weights(model, shape)
        for kernel in kernels:
            # Half a step, and float32's rounding of the step.
            allowed = [scales[0, 0] * (0.5 + 1e-4) for _, scales in stored]
            errors = [np.abs(weights - kernel).max() for weights, _ in stored]
            assert any(error <= limit for error, limit in zip(errors, allowed, strict=True))


def test_small_kernels_stay_as_trained(exported: Exported, recipe: str) -> None:
    small = [layer.kernel for layer in exported.ranker.dense[1:]]
    assert all(kernel.size < quantization.MIN_DENSE_VALUES for kernel in small)
    model = flatbuffer.read(exported.files[recipe])
    stored = [
        flatbuffer.constant(model, graph.tensors[flatbuffer.inputs(op)[1]])
        for graph, op in ops_named(model, "FULLY_CONNECTED")
    ]
    for kernel in small:
        assert sum(np.array_equal(one, kernel.T) for one in stored if one is not None) == 3
