"""Rewriting: edits that change a file's size and never its scores."""

from collections.abc import Callable

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer, rewriting, runtime
from tests.support import NEWEST, RUNTIMES, Array, Exported, ops_named, warm

Edit = Callable[[flatbuffer.Model], None]
EDITS: list[Edit] = [
    rewriting.shorten_names,
    rewriting.count_vocabulary_ids,
    rewriting.drop_unused_tensors,
    rewriting.drop_empty_quantization,
    rewriting.share_buffers,
    rewriting.number_tables,
]


def scores(file: bytes, exported: Exported, runtime_name: str = NEWEST) -> Array:
    pairs = exported.reference.test
    with warm(runtime_name).open(file) as session:
        inputs = {"user_id": pairs.users, "movie_title": pairs.candidates}
        return session.run("score", **inputs)["score"]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
def test_edit_keeps_the_scores(exported: Exported, edit: Edit) -> None:
    model = flatbuffer.read(exported.float_model)
    edit(model)
    file = flatbuffer.write(model)
    # Conversion leaves no tensor without a use, and a process's first tables are 0 and 1.
    idle = (rewriting.drop_unused_tensors, rewriting.number_tables)
    assert file != exported.float_model or edit in idle
    assert np.array_equal(scores(file, exported), scores(exported.float_model, exported))


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: str(edit.__name__))
def test_edit_twice_is_edit_once(exported: Exported, edit: Edit) -> None:
    model = flatbuffer.read(exported.float_model)
    edit(model)
    once = flatbuffer.write(model)
    edit(model)
    assert flatbuffer.write(model) == once


def test_tables_are_numbered_by_their_first_use(exported: Exported) -> None:
    model = flatbuffer.read(exported.float_model)
    makers = [op.builtinOptions for _, op in ops_named(model, "HASHTABLE")]
    before = [options.tableId for options in makers]
    for options in makers:
        options.tableId += 7
    rewriting.number_tables(model)
    after = [options.tableId for options in makers]
    assert list(dict.fromkeys(after)) == [0, 1]
    assert [before.index(one) for one in before] == [after.index(one) for one in after]


def counted_tables(model: flatbuffer.Model) -> int:
    """How many RANGEs the tables' initializer holds (`recommend` has one of its own)."""
    ranges = ops_named(model, "RANGE")
    tables = [graph for graph, _ in ops_named(model, "HASHTABLE_IMPORT")]
    return sum(graph in tables for graph, _ in ranges)


def test_vocabulary_ids_are_counted(exported: Exported) -> None:
    model = flatbuffer.read(exported.float_model)
    rewriting.count_vocabulary_ids(model)
    assert counted_tables(model) == len(ops_named(model, "HASHTABLE_IMPORT")) == 2


def with_vocabulary_values(exported: Exported, change: Callable[[Array], Array]) -> bytes:
    """The float file with other values in its hash tables."""
    model = flatbuffer.read(exported.float_model)
    for graph, op in ops_named(model, "HASHTABLE_IMPORT"):
        tensor = graph.tensors[flatbuffer.inputs(op)[2]]
        values = flatbuffer.constant(model, tensor)
        assert values is not None and values[0] == 1
        tensor.buffer = rewriting.add_buffer(model, change(values))
    return flatbuffer.write(model)


def _reversed(values: Array) -> Array:
    return values[::-1].copy()


def _one_twice(values: Array) -> Array:
    return np.concatenate([values[:-1], values[:1]])


def _too_large(values: Array) -> Array:
    return values + np.iinfo(np.int32).max


@pytest.mark.parametrize("change", [_reversed, _one_twice, _too_large])
def test_values_that_are_no_range_stay(
    exported: Exported, change: Callable[[Array], Array]
) -> None:
    file = with_vocabulary_values(exported, change)
    model = flatbuffer.read(file)
    rewriting.count_vocabulary_ids(model)
    assert counted_tables(model) == 0
    assert flatbuffer.write(model) == file


@pytest.mark.parametrize("runtime_name", RUNTIMES)
def test_range_may_start_anywhere(exported: Exported, runtime_name: str) -> None:
    """Values from 0: each id then means the row before, counted or stored."""
    file = with_vocabulary_values(exported, lambda values: values - 1)
    model = flatbuffer.read(file)
    rewriting.count_vocabulary_ids(model)
    assert counted_tables(model) == 2
    counted = scores(flatbuffer.write(model), exported, runtime_name)
    assert np.array_equal(counted, scores(file, exported, runtime_name))
    assert not np.array_equal(counted, scores(exported.float_model, exported, runtime_name))


def tiny_model() -> flatbuffer.Model:
    """One graph with five constants, of which three are equal and one is unused."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers, model.operatorCodes, model.subgraphs = [schema.BufferT()], [], [graph]
    graph.tensors, graph.inputs, graph.outputs = [], [], []
    for numbers in ([1, 2], [1, 2], [3, 4], [1, 2], [5, 6]):
        buffer = rewriting.add_buffer(model, np.array(numbers, np.int32))
        rewriting.add_tensor(graph, None, (2,), np.int32, buffer)
    output = rewriting.add_tensor(graph, None, (2,), np.int32)
    options = schema.AddOptionsT()
    graph.operators = [rewriting.make_op(model, "ADD", 1, [2, 3], output, options)]
    graph.outputs = [output]
    return model


def numbers(model: flatbuffer.Model, tensor: int) -> list[int]:
    values = flatbuffer.constant(model, model.subgraphs[0].tensors[tensor])
    assert values is not None
    return list(values.tolist())


def test_equal_buffers_are_kept_once() -> None:
    model = tiny_model()
    rewriting.share_buffers(model)
    (graph,) = model.subgraphs
    assert [tensor.buffer for tensor in graph.tensors] == [1, 1, 2, 1, 3, 0]
    assert numbers(model, 2) == [3, 4]
    assert len(model.buffers) == 4


def test_unused_tensors_go_and_the_rest_is_renumbered() -> None:
    model = tiny_model()
    rewriting.drop_unused_tensors(model)
    (graph,) = model.subgraphs
    (op,) = graph.operators
    assert len(graph.tensors) == 3
    left = [numbers(model, index) for index in op.inputs]
    assert left == [[3, 4], [1, 2]]
    assert list(op.outputs) == list(graph.outputs) == [2]


def test_buffers_of_metadata_are_kept() -> None:
    model = tiny_model()
    entry = schema.MetadataT()
    entry.name, entry.buffer = "note", rewriting.add_buffer(model, np.array([7], np.int32))
    model.metadata = [entry]
    rewriting.share_buffers(model)
    assert np.asarray(model.buffers[entry.buffer].data, np.uint8).tobytes() == b"\x07\0\0\0"


def test_signatures_keep_their_names(exported: Exported) -> None:
    model = flatbuffer.read(exported.float_model)
    rewriting.shorten_names(model)
    with warm(NEWEST).open(flatbuffer.write(model)) as session:
        after = session.signatures
    with warm(NEWEST).open(exported.float_model) as session:
        assert after == session.signatures


def test_op_code_is_added_once() -> None:
    model = tiny_model()
    assert flatbuffer.op_code(model, "ADD", 1) == 0
    assert flatbuffer.op_code(model, "ADD", 2) == 1
    assert flatbuffer.op_code(model, "ADD", 2) == 1
    assert len(model.operatorCodes) == 2


def test_op_of_a_later_version_does_not_load(exported: Exported) -> None:
    """Why `make_op` asks for the lowest version: a runtime refuses one that it doesn't know."""
    model = flatbuffer.read(exported.files["float32"])
    _, op = ops_named(model, "GATHER")[0]
    op.opcodeIndex = flatbuffer.op_code(model, "GATHER", 99)
    with pytest.raises(runtime.RuntimeFailure, match="version '99'"):
        warm(NEWEST).open(flatbuffer.write(model))
