"""Recipes, and their application to a float32 model's flatbuffer.

The rewriting is done on the converted graph, not in TensorFlow: there it can keep an embedding
table int8 in memory, choose op versions that older runtimes have, and share every constant
between signatures, whatever the model's layers are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer, rewriting, rounding

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

# Kernels of fewer numbers stay as trained. After `export.stable_units` the whole score passes
# through two such: rounded, int8's largest error is 0.0070 instead of 0.0015, for 5 kB less.
MIN_DENSE_VALUES = 4096


@dataclass(frozen=True)
class Recipe:
    """How a file's numbers are stored.

    Attributes:
        name: what `--recipe` takes.
        summary: one line for people.
        tables: embedding tables; `int8` and `int4` have one scale a row and stay as small in
            memory, `int4` with two values a byte.
        dense: dense layers' weights; `int8_weights` are widened to float once, at load;
            `int8_dynamic` multiply as int8 by activations quantized as they come.
    """

    name: str
    summary: str
    tables: Literal["float32", "float16", "int8", "int4"]
    dense: Literal["float32", "float16", "int8_weights", "int8_dynamic"]

    @property
    def keeps_tables_small(self) -> bool:
        """Whether the rule holds that no table is widened whole in memory."""
        return self.tables in ("int8", "int4")


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("float32", "as trained; the yardstick", "float32", "float32"),
            Recipe("float16", "half floats on disk, float32 in memory", "float16", "float16"),
            Recipe("dynamic_int8", "int8 rows, int8 dense arithmetic", "int8", "int8_dynamic"),
            Recipe("int8", "int8 rows and dense weights, float arithmetic", "int8", "int8_weights"),
            Recipe("int4", "int4 rows, int8 dense, float arithmetic", "int4", "int8_weights"),
        )
    }
)
DEFAULT_RECIPE = "int8"
AUTO = "auto"


class UnknownRecipeError(ValueError):
    """No recipe of that name."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownRecipeError: there is none; the message lists those that there are.
    """
    if name not in RECIPES:
        raise UnknownRecipeError(
            f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}, {AUTO}"
        )
    return RECIPES[name]


def recipes_named(name: str) -> tuple[Recipe, ...]:
    """The recipe of that name, or all of them for `auto`.

    Raises:
        UnknownRecipeError: as for `recipe_named`.
    """
    return tuple(RECIPES.values()) if name == AUTO else (recipe_named(name),)


def apply(recipe: Recipe, float_model: bytes) -> bytes:
    """Rewrites a float32 `.tflite` by a recipe, for all its signatures.

    Args:
        recipe: how to store tables and dense weights.
        float_model: a converted model.

    Returns:
        The rewritten model, with equal constants kept once and short tensor names.
    """
    model = flatbuffer.read(float_model)
    rewriting.shorten_names(model)
    tables = {
        "float32": None,
        "float16": _half,
        "int8": _int8_table,
        "int4": _int4_table,
    }[recipe.tables]
    dense = {
        "float32": None,
        "float16": _half,
        "int8_weights": _int8_dense,
        "int8_dynamic": _dynamic_dense,
    }[recipe.dense]
    if tables is not None:
        _rewrite(model, "GATHER", 0, tables)
    if dense is not None:
        _rewrite(model, "FULLY_CONNECTED", 1, dense, MIN_DENSE_VALUES)
    rewriting.number_tables(model)
    rewriting.count_vocabulary_ids(model)
    rewriting.drop_unused_tensors(model)
    rewriting.drop_empty_quantization(model)
    rewriting.share_buffers(model)
    return flatbuffer.write(model)


@dataclass(frozen=True)
class _Site:
    """One op that reads a float32 matrix, and the matrix."""

    model: flatbuffer.Model
    subgraph: flatbuffer.Subgraph
    op: flatbuffer.Operator
    position: int
    values: Float32
    stored: dict[str, tuple[int, Any]]
    """What the matrix was stored as, by kind: shared by every signature that reads it."""

    def store(self, kind: str, make: Callable[[], tuple[npt.NDArray[Any], Any]]) -> tuple[int, Any]:
        """The buffer of a stored form of the matrix, made at its first use, and its scale."""
        if kind not in self.stored:
            values, scale = make()
            self.stored[kind] = (rewriting.add_buffer(self.model, values), scale)
        return self.stored[kind]


_Rewriter = Callable[[_Site], list[flatbuffer.Operator]]


def _rewrite(
    model: flatbuffer.Model, name: str, position: int, rewriter: _Rewriter, least: int = 0
) -> None:
    """Replaces each op of that name that reads a constant float32 matrix.

    Args:
        model: changed in place.
        name: of the ops.
        position: of the matrix among an op's inputs.
        rewriter: gives what stands for an op.
        least: how many numbers the matrix has at least.
    """
    stored: dict[int, dict[str, tuple[int, Any]]] = {}
    for subgraph in model.subgraphs:
        ops: list[flatbuffer.Operator] = []
        for op in subgraph.operators:
            values = None
            if flatbuffer.op_name(model, op) == name:
                tensor = subgraph.tensors[flatbuffer.inputs(op)[position]]
                values = flatbuffer.constant(model, tensor)
            if (
                values is None
                or values.dtype != np.float32
                or values.ndim != 2
                or values.size < least
            ):
                ops.append(op)
                continue
            forms = stored.setdefault(tensor.buffer, {})
            ops += rewriter(_Site(model, subgraph, op, position, values, forms))
        subgraph.operators = ops


def _gather(site: _Site, table: int, ids: int, columns: int) -> tuple[int, flatbuffer.Operator]:
    """Rows of an int8 table: `int8[n, columns]`, and the op."""
    # A gathered row keeps its table's quantization, where it has one.
    scale = getattr(site.subgraph.tensors[table].quantization, "scale", None)
    rows = rewriting.add_tensor(site.subgraph, None, (-1, columns), np.int8, scale=scale)
    options = schema.GatherOptionsT()
    return rows, rewriting.make_op(site.model, "GATHER", 2, [table, ids], rows, options)


def _scaled_rows(
    site: _Site,
    kind: str,
    make: Callable[[], tuple[Int8, rounding.QuantizedRows]],
    unit: float | None = None,
) -> tuple[int, int, list[flatbuffer.Operator]]:
    """Gathers rows and their scales, and widens those alone.

    Args:
        site: the look-up.
        kind: of what is stored.
        make: gives the values as the file holds them, and the quantized table they are of.
        unit: what a stored value counts for, where not 1.

    Returns:
        The gathered values as float, `float32[n, stored columns]`, their scales,
        `float32[n, 1]`, and the ops.
    """
    graph, ids = site.subgraph, flatbuffer.inputs(site.op)[1]
    buffer, rows = site.store(kind, make)
    codes_buffer, _ = site.store(f"{kind} scales", lambda: (rows.codes, None))
    name = "table" if unit is None else flatbuffer.PACKED
    table_unit = None if unit is None else np.array([unit], np.float32)
    # Two values a byte where a stored value counts for less than 1.
    columns = rows.values.shape[1] // (1 if unit is None else 2)
    shape = (len(rows.values), columns)
    table = rewriting.add_tensor(graph, name, shape, np.int8, buffer, table_unit)
    codes_unit = np.array([rows.unit], np.float32)
    codes = rewriting.add_tensor(
        graph, flatbuffer.SCALES, rows.codes.shape, np.int8, codes_buffer, codes_unit
    )
    gathered, gather = _gather(site, table, ids, columns)
    gathered_codes, gather_codes = _gather(site, codes, ids, 1)
    values = rewriting.add_tensor(graph, None, (-1, columns), np.float32)
    scales = rewriting.add_tensor(graph, None, (-1, 1), np.float32)
    widen, version = ("CAST", 1) if unit is None else ("DEQUANTIZE", 2)
    return (
        values,
        scales,
        [
            gather,
            rewriting.make_op(site.model, widen, version, [gathered], values),
            gather_codes,
            rewriting.make_op(site.model, "DEQUANTIZE", 2, [gathered_codes], scales),
        ],
    )


def _multiply(site: _Site, values: int, scales: int) -> flatbuffer.Operator:
    """The look-up's own output: values times their rows' scales."""
    output = int(site.op.outputs[0])
    return rewriting.make_op(site.model, "MUL", 1, [values, scales], output, schema.MulOptionsT())


def _int8_table(site: _Site) -> list[flatbuffer.Operator]:
    """GATHER int8 rows, widen those alone, and multiply each by its row's scale."""

    def make() -> tuple[Int8, rounding.QuantizedRows]:
        rows = rounding.quantize_rows(site.values)
        return rows.values, rows

    values, scales, ops = _scaled_rows(site, "int8", make)
    return [*ops, _multiply(site, values, scales)]


def _int4_table(site: _Site) -> list[flatbuffer.Operator]:
    """As int8, with the halves of a row taken out of the gathered bytes in between."""
    columns = site.values.shape[1]
    if columns % 2:
        return _int8_table(site)

    def make() -> tuple[Int8, rounding.QuantizedRows]:
        rows = rounding.quantize_rows(site.values, rounding.INT4_LEVELS)
        return rounding.pack_pairs(rows.values), rows

    sixteenths, scales, ops = _scaled_rows(site, "int4", make, unit=1 / 16)

    def compute(op: str, options: Any, *inputs: int, width: int = columns // 2) -> int:
        output = rewriting.add_tensor(site.subgraph, None, (-1, width), np.float32)
        ops.append(rewriting.make_op(site.model, op, 1, list(inputs), output, options))
        return output

    buffer = rewriting.add_buffer(site.model, np.array(16, np.float32))
    sixteen = rewriting.add_tensor(site.subgraph, None, (), np.float32, buffer)
    left = compute("ROUND", None, sixteenths)
    rest = compute("SUB", schema.SubOptionsT(), sixteenths, left)
    right = compute("MUL", schema.MulOptionsT(), rest, sixteen)
    beside = schema.ConcatenationOptionsT()
    beside.axis = 1
    values = compute("CONCATENATION", beside, left, right, width=columns)
    return [*ops, _multiply(site, values, scales)]


def _widened(
    site: _Site, buffer: int, dtype: npt.DTypeLike, version: int, scale: Float32 | None
) -> list[flatbuffer.Operator]:
    """The op itself, reading a constant that a DEQUANTIZE widens to float32 at load."""
    shape = site.values.shape
    small = rewriting.add_tensor(site.subgraph, "weights", shape, dtype, buffer, scale)
    wide = rewriting.add_tensor(site.subgraph, None, shape, np.float32)
    inputs = flatbuffer.inputs(site.op)
    inputs[site.position] = wide
    site.op.inputs = inputs
    dequantize = rewriting.make_op(site.model, "DEQUANTIZE", version, [small], wide)
    return [dequantize, site.op]


def _half(site: _Site) -> list[flatbuffer.Operator]:
    """Half floats on disk, widened once at load: no runtime of 2.14 gathers half floats."""
    buffer, _ = site.store("float16", lambda: (site.values.astype(np.float16), None))
    return _widened(site, buffer, np.float16, 3, None)


def _int8_dense(site: _Site) -> list[flatbuffer.Operator]:
    """Weights int8 with one scale; widened once at load, so arithmetic is float everywhere."""
    buffer, scale = site.store("int8", lambda: rounding.quantize_tensor(site.values))
    return _widened(site, buffer, np.int8, 2, scale)


def _dynamic_dense(site: _Site) -> list[flatbuffer.Operator]:
    """Weights int8 with one scale: per-channel ones need a version that older runtimes lack."""
    buffer, scale = site.store("int8", lambda: rounding.quantize_tensor(site.values))
    inputs = flatbuffer.inputs(site.op)
    inputs[1] = rewriting.add_tensor(
        site.subgraph, "weights", site.values.shape, np.int8, buffer, scale
    )
    site.op.inputs = inputs
    site.op.opcodeIndex = flatbuffer.op_code(site.model, "FULLY_CONNECTED", 3)
    return [site.op]
