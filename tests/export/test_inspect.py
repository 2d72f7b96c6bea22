"""Inspection: what stands in our files and in stock ones, and a thousand damaged ones."""

import json
import struct
from collections import Counter
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from typer.testing import CliRunner

from export import flatbuffer, inspect, metadata, serving, versions
from tests.mutation import mutated
from tests.support import Exported, ops_named

MUTATIONS = 1000


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(inspect.app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


def test_everything_is_told(exported: Exported, recipe: str, tmp_path: Path) -> None:
    own = {"name": "a ranker", "version": "1", "recipe": recipe, "metrics": {"rmse": 1.1}}
    content = metadata.add(exported.files[recipe], own)
    path = tmp_path / "ranker.tflite"
    path.write_bytes(content)
    code, output, _ = run(path, "--json")
    assert code == 0
    told = json.loads(output)
    assert told["format_version"] == inspect.FORMAT_VERSION
    assert (told["bytes"], told["recipe"]) == (len(content), recipe)
    assert told["metadata"]["metrics"] == {"rmse": 1.1}
    assert {one["name"] for one in told["signatures"]} == set(serving.SIGNATURES)
    score = next(one for one in told["signatures"] if one["name"] == "score")
    assert {p["name"]: (p["dtype"], p["shape"]) for p in score["inputs"]} == {
        serving.USER: ("STRING", [-1]),
        serving.CANDIDATE: ("STRING", [-1]),
    }
    ids = {(v["signature"], v["input"]): v["ids"] for v in told["vocabularies"]}
    sizes = [len(t.vocabulary) for t in (exported.ranker.users, exported.ranker.candidates)]
    assert [ids["score", name] for name in (serving.USER, serving.CANDIDATE)] == sizes
    assert ids["recommend", serving.SEEN] == sizes[1]
    assert sum(told["bytes_by_role"].values()) == len(content)
    assert told["unlisted_ops"] == []
    # Hash tables came with 2.5: nothing that the recipes write is younger.
    assert told["min_runtime"] == "2.5.0"
    code, output, _ = run(path)
    assert code == 0
    assert all(part in output for part in ("a ranker", "1,664", "HASHTABLE_FIND", "2.5.0", "any"))


def test_stock_file_and_the_converters_own_note(exported: Exported) -> None:
    """The float model as TensorFlow's converter wrote it: no metadata of ours, its own note."""
    told = inspect.inspect(exported.float_model)
    assert (told.recipe, told.metadata) == (None, None)
    assert told.stated_min_runtime is not None
    assert told.min_runtime == told.stated_min_runtime


def test_releases_grow_with_an_ops_versions() -> None:
    for releases in versions.RELEASES.values():
        numbers = [tuple(map(int, release.split("."))) for release in releases]
        assert numbers == sorted(numbers)
    uses = [flatbuffer.OpUse("score", op, version, 1) for op, version in (("ADD", 1), ("CAST", 5))]
    assert versions.minimum(uses) == "2.12.0"
    assert versions.minimum([*uses, flatbuffer.OpUse("score", "ADD", 99, 1)]) is None
    assert versions.minimum([]) is None


def test_unlisted_op_is_named(exported: Exported, tmp_path: Path) -> None:
    model = flatbuffer.read(exported.files["int8"])
    _, op = ops_named(model, "ADD")[0]
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = 5000, 127, 3
    model.operatorCodes.append(code)
    op.opcodeIndex = len(model.operatorCodes) - 1
    told = inspect.inspect(flatbuffer.write(model))
    assert (told.min_runtime, told.unlisted_ops) == (None, ("OP 5000 3",))


@pytest.mark.parametrize("name", ["\x1b[2Jgone", "[link=x]y[/link]", "\u202eright-to-left", "a\nb"])
def test_names_do_not_steer_the_terminal(exported: Exported, tmp_path: Path, name: str) -> None:
    model = flatbuffer.read(exported.files["int8"])
    model.signatureDefs[0].signatureKey = name.encode()
    model.signatureDefs[1].inputs[0].name = name.encode()
    path = tmp_path / "hostile.tflite"
    path.write_bytes(metadata.add(flatbuffer.write(model), {name: name, "recipe": "int8"}))
    code, output, _ = run(path)
    assert code == 0
    assert not set("\x1b\u202e") & set(output)
    code, output, _ = run(path, "--json")
    assert output.isascii()
    assert json.loads(output)["metadata"][name] == name


@pytest.mark.parametrize("entry", [b"\xff", b"[1]", b"NaN", b'{"a": 1e999}', b"[" * 100_000])
def test_metadata_that_is_not_ours(exported: Exported, entry: bytes) -> None:
    model = flatbuffer.read(metadata.add(exported.files["int8"], {"recipe": "int8"}))
    ours = next(one for one in model.metadata if one.name == metadata.JSON_ENTRY.encode())
    model.buffers[ours.buffer].data = np.frombuffer(entry, np.uint8)
    assert inspect.inspect(flatbuffer.write(model)).metadata is None


@pytest.mark.parametrize("path", ["none.tflite", "", "/dev/zero"])
def test_path_that_is_no_file(tmp_path: Path, path: str) -> None:
    code, output, errors = run(tmp_path / path)
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1 and errors.startswith("error: ")


def test_sparse_file_of_three_gigabytes(tmp_path: Path) -> None:
    with (tmp_path / "huge.tflite").open("wb") as stream:
        stream.truncate(3 * 2**30)
    code, _, errors = run(tmp_path / "huge.tflite")
    assert code == 2 and "ends at 2 GiB" in errors


def test_a_thousand_damaged_files(small_model: bytes) -> None:
    """Each is told, or refused in one line: nothing else is raised."""
    outcomes: Counter[str] = Counter()
    for seed in range(MUTATIONS):
        try:
            told = inspect.inspect(mutated(small_model, seed))
        except flatbuffer.FlatbufferError as error:
            assert "\n" not in str(error)
            outcomes["refused"] += 1
        else:
            json.dumps(inspect.document(told), allow_nan=False)
            outcomes["told"] += 1
    # Both kinds are many, or the damage would be too little or too much to show anything.
    assert outcomes.total() == MUTATIONS
    assert min(outcomes["refused"], outcomes["told"]) > MUTATIONS // 10


def model_of(graphs: int, tensors: int, name: bytes, operands: int = 0) -> bytes:
    """A small file that stands for a huge model: all its vectors point at the same things."""
    builder = flatbuffers.Builder(1024)
    text = builder.CreateString(name)
    schema.TensorStart(builder)
    schema.TensorAddName(builder, text)
    tensor = schema.TensorEnd(builder)
    numbers = builder.CreateNumpyVector(np.zeros(operands, np.int32))
    schema.OperatorStart(builder)
    schema.OperatorAddInputs(builder, numbers)
    op = schema.OperatorEnd(builder)

    def many(start: int, count: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(start)
        return int(builder.EndVector())

    all_tensors, all_ops = many(tensor, tensors), many(op, tensors)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, all_tensors)
    schema.SubGraphAddOperators(builder, all_ops)
    graph = schema.SubGraphEnd(builder)
    all_graphs = many(graph, graphs)
    schema.BufferStart(builder)
    buffers = many(schema.BufferEnd(builder), 1)
    schema.OperatorCodeStart(builder)
    codes = many(schema.OperatorCodeEnd(builder), 1)
    schema.ModelStart(builder)
    schema.ModelAddBuffers(builder, buffers)
    schema.ModelAddOperatorCodes(builder, codes)
    schema.ModelAddSubgraphs(builder, all_graphs)
    builder.Finish(schema.ModelEnd(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("graphs", "tensors", "name", "operands", "reason"),
    [
        (10_000, 10_000, b"", 0, "500,000 parts"),
        (1, 10_000, b"x" * 10_000, 0, "bytes of names"),
        (1, 10_000, b"", 10_000, "500,000 parts"),
    ],
)
def test_small_file_that_stands_for_a_huge_model(
    graphs: int, tensors: int, name: bytes, operands: int, reason: str
) -> None:
    """10**8 tensors, 10**8 bytes of names, 10**8 operands: refused before they are made."""
    file = model_of(graphs, tensors, name, operands)
    assert len(file) < 400_000
    with pytest.raises(flatbuffer.FlatbufferError, match=reason):
        inspect.inspect(file)
    # The same, small enough: it is the size that is refused.
    assert flatbuffer.read(model_of(1, 10, b"x", 0)).subgraphs


def test_vector_lengths_beyond_the_file() -> None:
    file = bytearray(model_of(1, 10, b"x", 0))
    root = schema.Model.GetRootAs(bytes(file), 0)
    place = root._tab.Vector(root._tab.Offset(8)) - 4
    assert struct.unpack_from("<I", file, place) == (1,)
    for length in (2, 2**20, 2**31, 2**32 - 1):
        struct.pack_into("<I", file, place, length)
        with pytest.raises(flatbuffer.FlatbufferError):
            flatbuffer.read(bytes(file))


@pytest.mark.parametrize(
    "values",
    [
        (-1,),
        (2**31 - 1, 0),
        (1, 12, 2**31 - 1),
        (1, -5, 12),
        # A hundred strings, each the whole constant: 0, end, 0, end, …
        (3, 0, 20, 0, 20),
    ],
)
def test_vocabulary_offsets_that_lead_elsewhere(
    exported: Exported, values: tuple[int, ...]
) -> None:
    model = flatbuffer.read(exported.files["int8"])
    for graph, op in ops_named(model, "HASHTABLE_IMPORT"):
        keys = graph.tensors[flatbuffer.inputs(op)[1]]
        model.buffers[keys.buffer].data = np.array(values, "<i4").view(np.uint8)
    with pytest.raises(flatbuffer.FlatbufferError, match="damaged"):
        inspect.inspect(flatbuffer.write(model))


def test_shapes_that_no_memory_holds(exported: Exported) -> None:
    model = flatbuffer.read(exported.files["int8"])
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.shape = np.array([2**31 - 1, 2**31 - 1], np.int32)
    told = inspect.inspect(flatbuffer.write(model))
    assert told.tensors[0].shape == (2**31 - 1, 2**31 - 1)


@pytest.mark.parametrize("index", [-2, 10**6])
def test_indices_that_point_at_nothing(exported: Exported, index: int) -> None:
    def buffer(model: flatbuffer.Model) -> None:
        model.subgraphs[0].tensors[0].buffer = abs(index) + 1000

    def operand(model: flatbuffer.Model) -> None:
        model.subgraphs[0].operators[0].inputs = [index]

    def code(model: flatbuffer.Model) -> None:
        model.subgraphs[0].operators[0].opcodeIndex = abs(index) + 1000

    def subgraph(model: flatbuffer.Model) -> None:
        model.signatureDefs[0].subgraphIndex = abs(index) + 1000

    def port(model: flatbuffer.Model) -> None:
        model.signatureDefs[0].inputs[0].tensorIndex = abs(index) + 1000

    for change in (buffer, operand, code, subgraph, port):
        model = flatbuffer.read(exported.files["int8"])
        change(model)
        with pytest.raises(flatbuffer.FlatbufferError, match="out of range"):
            inspect.inspect(flatbuffer.write(model))
