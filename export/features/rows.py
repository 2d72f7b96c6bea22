"""Rows of features to measure on: from a file, or made of what the model itself knows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import tensorflow as tf

from export.features import substitutes
from export.features.graph import Graph, data_inputs
from export.features.model import Array, Feature, FeatureModel, Rows
from export.reference import ODD_IDS

MIN_ROWS = 1024
LIST_LENGTH = 10
"""Of lists that may have any length."""

# Where an id goes on its way to a look-up without becoming another.
_CARRIERS = ("Identity", "Reshape", "ExpandDims", "Squeeze", "Cast", "StopGradient", "Pack")
_NUMBERS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 5.0, -5.0)
_INTEGERS = (0, 1, -1, 2, 3, 5, 7, 10, -10, 100)
_UNKNOWN = (0, -1, -(2**31), 2**31 - 1, -(2**63), 2**63 - 1)


class FeaturesError(ValueError):
    """The file of features can't be used; the message says what to do."""


@dataclass(frozen=True)
class FeatureRows:
    """Rows to measure on.

    Attributes:
        values: features by name, strings as `bytes` objects.
        groups: each row's group, whose rows are ranked against one another; None for one group
            of all rows, or where each row is a list of its own.
        odd: the first row with odd ids, unknown numbers and the like put into one feature or all.
        odd_names: what each odd row is.
        source: where `values` come from, for people.
    """

    values: Rows
    groups: npt.NDArray[Any] | None
    odd: Rows
    odd_names: tuple[str, ...]
    source: str

    @property
    def size(self) -> int:
        """How many rows there are, without the odd ones."""
        return len(next(iter(self.values.values())))


@dataclass(frozen=True)
class Known:
    """What a feature's values may be: ids that tables look up, and numbers of rows."""

    ids: tuple[Any, ...]
    rows: int | None


def known(model: FeatureModel, feature: Feature) -> Known:
    """The ids that a feature's look-ups know, and how many rows what it indexes has."""
    graph = model.graph
    readers: dict[str, list[Any]] = {}
    for node in graph.order(list(model.outputs.values())):
        for tensor in data_inputs(node):
            readers.setdefault(graph.node(tensor).name, []).append(node)
    ids: set[Any] = set()
    rows: list[int] = []
    waiting, seen = [graph.node(model.placeholders[feature.name]).name], set()
    while waiting:
        name = waiting.pop()
        for node in readers.get(name, []):
            position = [graph.node(tensor).name for tensor in data_inputs(node)].index(name)
            if node.op == substitutes.FIND and position == 1:
                ids.update(model.tables[graph.origin(node.input[0]).name].keys.tolist())
            elif node.op in _CARRIERS and node.name not in seen:
                seen.add(node.name)
                waiting.append(node.name)
            else:
                rows += _rows_of(graph, node, position)
    return Known(tuple(sorted(ids)), min(rows, default=None))


def _rows_of(graph: Graph, node: Any, position: int) -> Iterator[int]:
    """How many values a node takes at an input that it indexes by; nothing where it doesn't."""
    if node.op == substitutes.GATHER and position == 1:
        table = graph.spec(node.input[0]).shape
        if table.rank and table[0] is not None:
            yield int(table[0])
    elif node.op == substitutes.BINCOUNT and position == 0:
        size = substitutes.bincount_size(graph, node)
        if size is not None:
            yield size
    elif node.op == "OneHot" and position == 0:
        depth = graph.constant(node.input[1])
        if depth is not None:
            yield int(depth)


def made(model: FeatureModel, seed: int = 0) -> FeatureRows:
    """Rows in which every id that the model knows comes at least once.

    Ids stand beside one another as chance has it. A number that indexes a table covers all of
    its rows; any other one is 0, small, negative, or drawn from a normal distribution.
    """
    random = np.random.default_rng(seed)
    pools = {f.name: _pool(f, known(model, f), random) for f in model.features}
    lists = {f.name: tuple(size or LIST_LENGTH for size in f.shape[1:]) for f in model.features}
    needed = [-(-len(pool) // math.prod(lists[name])) for name, pool in pools.items()]
    size = max(MIN_ROWS, *needed)
    values = {}
    for name, pool in pools.items():
        taken = np.resize(pool, size * math.prod(lists[name]))
        values[name] = random.permutation(taken).reshape(size, *lists[name])
    return _with_odd(model, values, None, f"{size:,} rows made of what the model knows")


def _pool(feature: Feature, known_values: Known, random: np.random.Generator) -> Array:
    """A feature's values, each at least once."""
    if feature.dtype == tf.string:
        ids = known_values.ids or tuple(text.encode() for text in ODD_IDS.values())
        return np.array(ids, dtype=object)
    if feature.dtype == tf.bool:
        return np.array([False, True])
    dtype = feature.dtype.as_numpy_dtype
    if known_values.rows is not None:
        inside = [value for value in known_values.ids if 0 <= value < known_values.rows]
        return np.array(inside or range(known_values.rows), dtype)
    if known_values.ids:
        return np.array(known_values.ids, dtype)
    if feature.dtype.is_integer:
        return np.array(_INTEGERS, dtype)
    drawn = random.normal(size=MIN_ROWS - len(_NUMBERS))
    return np.concatenate([np.array(_NUMBERS), drawn]).astype(dtype)


def read(model: FeatureModel, path: Path, group: str | None = None) -> FeatureRows:
    """Rows of a Parquet or CSV file with a column for each feature.

    Args:
        model: whose features to read; other columns are left alone.
        path: the file; lists need Parquet.
        group: the column whose equal values make one group, such as the user's id.

    Raises:
        FeaturesError: the file can't be read, or has not the columns needed.
    """
    try:
        table = (
            pyarrow.parquet.read_table(str(path))
            if path.suffix == ".parquet"
            else pyarrow.csv.read_csv(str(path), convert_options=_csv_options(model))
        )
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise FeaturesError(f"{path} is no readable Parquet or CSV file: {reason}") from error
    names = [feature.name for feature in model.features] + ([group] if group else [])
    missing = [name for name in names if name not in table.column_names]
    if missing or not table.num_rows:
        what = f"lacks the columns {', '.join(missing)}" if missing else "has no rows"
        raise FeaturesError(f"{path} {what}: it needs {', '.join(map(str, model.features))}")
    values = {feature.name: _column(path, table, feature) for feature in model.features}
    groups = None if group is None else np.array(table.column(group).to_pylist(), dtype=object)
    return _with_odd(model, values, groups, f"{path.name}, {table.num_rows:,} rows")


def _csv_options(model: FeatureModel) -> pyarrow.csv.ConvertOptions:
    # An id that looks like a number is still a string, and an empty one is no null.
    types = {f.name: _arrow(f) for f in model.features if len(f.shape) == 1}
    return pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=False)


def _arrow(feature: Feature) -> pa.DataType:
    name = feature.dtype.name
    return pa.string() if name == "string" else pa.from_numpy_dtype(feature.dtype.as_numpy_dtype)


def _column(path: Path, table: pa.Table, feature: Feature) -> Array:
    try:
        rows = table.column(feature.name).to_pylist()
        if feature.dtype == tf.string:
            array = np.array(_encoded(rows), dtype=object)
        else:
            array = np.array(rows, dtype=feature.dtype.as_numpy_dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise FeaturesError(f"{path}, column {feature.name}: {error}") from error
    if array.ndim == len(feature.shape) - 1 and feature.shape[-1] == 1:
        array = array[..., None]
    if not feature.spec.shape.is_compatible_with(array.shape):
        raise FeaturesError(
            f"{path}, column {feature.name}: values of shape {array.shape}, expected {feature}"
        )
    return array


def _encoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    if isinstance(value, bytes):
        return value
    if value is None:
        raise ValueError("a value is missing")
    return str(value).encode()


def _with_odd(
    model: FeatureModel, values: Rows, groups: npt.NDArray[Any] | None, source: str
) -> FeatureRows:
    """Adds the odd rows."""
    cases: list[tuple[str, dict[str, Any]]] = []
    strings = [f.name for f in model.features if f.dtype == tf.string]
    for kind, text in ODD_IDS.items():
        cases += [(f"{kind} {name}", {name: text.encode()}) for name in strings]
        if len(strings) > 1:
            cases.append((f"{kind}, every string", dict.fromkeys(strings, text.encode())))
    for name in strings:
        first = bytes(np.ravel(values[name])[0])
        # A known id with a NUL after it must not be known: Android's String[] makes such ids.
        cases.append((f"{name}, NUL appended", {name: first + b"\0"}))
    for feature in model.features:
        cases += [
            (f"{feature.name} {value}", {feature.name: value}) for value in _odd(model, feature)
        ]
    odd_rows = {name: np.repeat(column[:1], len(cases), axis=0) for name, column in values.items()}
    for row, (_, changes) in enumerate(cases):
        for name, value in changes.items():
            odd_rows[name][row] = value
    return FeatureRows(values, groups, odd_rows, tuple(name for name, _ in cases), source)


def _odd(model: FeatureModel, feature: Feature) -> Sequence[int]:
    """Integers that a look-up does not know; none for one that indexes, which would have no row."""
    if not feature.dtype.is_integer:
        return ()
    about = known(model, feature)
    if not about.ids or about.rows is not None:
        return ()
    limits = np.iinfo(feature.dtype.as_numpy_dtype)
    inside = (value for value in _UNKNOWN if limits.min <= value <= limits.max)
    return tuple(value for value in inside if value not in about.ids)
