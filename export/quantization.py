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

from export import flatbuffer, rewriting

Float32 = npt.NDArray[np.float32]
Int8 = npt.NDArray[np.int8]

INT8_MAX = 127
# Biases and the last layer's handful of weights: rounding them saves nothing.
MIN_DENSE_VALUES = 1024


@dataclass(frozen=True)
class Recipe:
    """How a file's numbers are stored.

    Attributes:
        name: what `--recipe` takes.
        summary: one line for people.
        tables: embedding tables; `int8` has one scale a row and stays int8 in memory.
        dense: dense layers' weights; `int8_weights` are widened to float once, at load;
            `int8_dynamic` multiply as int8 by activations quantized as they come.
    """

    name: str
    summary: str
    tables: Literal["float32", "float16", "int8"]
    dense: Literal["float32", "float16", "int8_weights", "int8_dynamic"]

    @property
    def keeps_tables_small(self) -> bool:
        """Whether the rule holds that no table is widened whole in memory."""
        return self.tables == "int8"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            Recipe("float32", "as trained; the yardstick", "float32", "float32"),
            Recipe("float16", "half floats on disk, float32 in memory", "float16", "float16"),
            Recipe("dynamic_int8", "int8 rows, int8 dense arithmetic", "int8", "int8_dynamic"),
            Recipe(
                "int8", "int8 rows, int8 dense weights, float arithmetic", "int8", "int8_weights"
            ),
        )
    }
)
DEFAULT_RECIPE = "int8"


class UnknownRecipeError(ValueError):
    """No recipe of that name."""


def recipe_named(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownRecipeError: there is none; the message lists those that there are.
    """
    if name not in RECIPES:
        raise UnknownRecipeError(f"unknown recipe {name!r}: choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def quantize_rows(table: Float32) -> tuple[Int8, Float32]:
    """Symmetric int8 with one scale a row.

    Args:
        table: `float32[rows, columns]`, finite.

    Returns:
        Values `int8[rows, columns]` in -127..127 and scales `float32[rows, 1]`, so that
        `values * scales` differs from the table by at most half a scale.
    """
    largest = np.abs(table).max(axis=1, keepdims=True, initial=0.0)
    # A row of zeros, or of numbers so small that the scale would vanish, needs any scale but 0.
    smallest_scale = np.float32(np.finfo(np.float32).tiny)
    scales = np.maximum(largest / np.float32(INT8_MAX), smallest_scale).astype(np.float32)
    values = np.clip(np.rint(table / scales), -INT8_MAX, INT8_MAX)
    return values.astype(np.int8), scales


def quantize_tensor(weights: Float32) -> tuple[Int8, Float32]:
    """Symmetric int8 with one scale: values of the weights' shape, and the scale `float32[1]`."""
    values, scale = quantize_rows(weights.reshape(1, -1))
    return values.reshape(weights.shape), scale.reshape(1)


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
    tables = {"float32": None, "float16": _half_table, "int8": _int8_table}[recipe.tables]
    dense = {
        "float32": None,
        "float16": _half_dense,
        "int8_weights": _int8_dense,
        "int8_dynamic": _dynamic_dense,
    }[recipe.dense]
    if tables is not None:
        _rewrite(model, "GATHER", 0, tables)
    if dense is not None:
        _rewrite(model, "FULLY_CONNECTED", 1, dense)
    rewriting.count_vocabulary_ids(model)
    rewriting.drop_unused_tensors(model)
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


def _rewrite(model: flatbuffer.Model, name: str, position: int, rewriter: _Rewriter) -> None:
    """Replaces each op of that name, whose input at `position` is a constant float32 matrix."""
    stored: dict[int, dict[str, tuple[int, Any]]] = {}
    for subgraph in model.subgraphs:
        ops: list[flatbuffer.Operator] = []
        for op in subgraph.operators:
            values = None
            if flatbuffer.op_name(model, op) == name:
                tensor = subgraph.tensors[flatbuffer.inputs(op)[position]]
                values = flatbuffer.constant(model, tensor)
            if values is None or values.dtype != np.float32 or values.ndim != 2:
                ops.append(op)
                continue
            forms = stored.setdefault(tensor.buffer, {})
            ops += rewriter(_Site(model, subgraph, op, position, values, forms))
        subgraph.operators = ops


def _gather(site: _Site, version: int, table: int, ids: int, output: int) -> flatbuffer.Operator:
    return rewriting.make_op(
        site.model, "GATHER", version, [table, ids], output, schema.GatherOptionsT()
    )


def _int8_table(site: _Site) -> list[flatbuffer.Operator]:
    """GATHER int8 rows, widen those alone, and multiply each by its row's scale."""
    buffer, _ = site.store("int8", lambda: (quantize_rows(site.values)[0], None))
    scales_buffer, _ = site.store("scales", lambda: (quantize_rows(site.values)[1], None))
    rows, columns = site.values.shape
    graph, ids = site.subgraph, flatbuffer.inputs(site.op)[1]
    table = rewriting.add_tensor(graph, "table", (rows, columns), np.int8, buffer)
    scales = rewriting.add_tensor(graph, flatbuffer.SCALES, (rows, 1), np.float32, scales_buffer)
    gathered = rewriting.add_tensor(graph, "rows", (-1, columns), np.int8)
    widened = rewriting.add_tensor(graph, "widened", (-1, columns), np.float32)
    scale = rewriting.add_tensor(graph, "scale", (-1, 1), np.float32)
    cast = schema.CastOptionsT()
    cast.inDataType, cast.outDataType = schema.TensorType.INT8, schema.TensorType.FLOAT32
    return [
        _gather(site, 2, table, ids, gathered),
        rewriting.make_op(site.model, "CAST", 1, [gathered], widened, cast),
        _gather(site, 1, scales, ids, scale),
        rewriting.make_op(
            site.model,
            "MUL",
            1,
            [widened, scale],
            int(site.op.outputs[0]),
            schema.MulOptionsT(),
        ),
    ]


def _widened(
    site: _Site, buffer: int, dtype: npt.DTypeLike, version: int, scale: Float32 | None
) -> list[flatbuffer.Operator]:
    """The op itself, reading a constant that a DEQUANTIZE widens to float32 at load."""
    shape = site.values.shape
    small = rewriting.add_tensor(site.subgraph, "small", shape, dtype, buffer, scale)
    wide = rewriting.add_tensor(site.subgraph, "wide", shape, np.float32)
    inputs = flatbuffer.inputs(site.op)
    inputs[site.position] = wide
    site.op.inputs = inputs
    dequantize = rewriting.make_op(
        site.model, "DEQUANTIZE", version, [small], wide, schema.DequantizeOptionsT()
    )
    return [dequantize, site.op]


def _half(site: _Site) -> list[flatbuffer.Operator]:
    buffer, _ = site.store("float16", lambda: (site.values.astype(np.float16), None))
    return _widened(site, buffer, np.float16, 3, None)


_half_table = _half
_half_dense = _half


def _int8_dense(site: _Site) -> list[flatbuffer.Operator]:
    """Weights int8 with one scale an output; widened once, so arithmetic is float everywhere."""
    if site.values.size < MIN_DENSE_VALUES:
        return [site.op]
    buffer, scales = site.store("int8", lambda: quantize_rows(site.values))
    return _widened(site, buffer, np.int8, 5, scales.reshape(-1))


def _dynamic_dense(site: _Site) -> list[flatbuffer.Operator]:
    """Weights int8 with one scale: per-channel ones need a version that older runtimes lack."""
    if site.values.size < MIN_DENSE_VALUES:
        return [site.op]
    buffer, scale = site.store("int8_tensor", lambda: quantize_tensor(site.values))
    inputs = flatbuffer.inputs(site.op)
    inputs[1] = rewriting.add_tensor(
        site.subgraph, "weights", site.values.shape, np.int8, buffer, scale
    )
    site.op.inputs = inputs
    site.op.opcodeIndex = flatbuffer.op_code(site.model, "FULLY_CONNECTED", 3)
    return [site.op]
