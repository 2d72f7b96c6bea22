"""The flatbuffer: read, written, and damaged."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from export import flatbuffer, rewriting, serving
from tests.support import Array, Exported, ops_named, string_bytes


def test_reading_and_writing_gives_the_same_bytes(exported: Exported, recipe: str) -> None:
    file = exported.files[recipe]
    assert flatbuffer.write(flatbuffer.read(file)) == file


@pytest.mark.parametrize(
    "content", [b"", b"TFL3", b"not a model at all", bytes(1000), b"PK\x03\x04" * 100]
)
def test_other_files_are_named_so(content: bytes) -> None:
    with pytest.raises(flatbuffer.FlatbufferError, match=r"not a \.tflite file"):
        flatbuffer.read(content)


@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_truncated_file(exported: Exported, kept: float) -> None:
    file = exported.files["int8"]
    with pytest.raises(flatbuffer.FlatbufferError):
        flatbuffer.read(file[: int(len(file) * kept)])


def test_damaged_head(exported: Exported) -> None:
    file = bytearray(exported.files["int8"])
    file[0:4] = b"\xff\xff\xff\x7f"  # The root table, far outside.
    with pytest.raises(flatbuffer.FlatbufferError, match="damaged"):
        flatbuffer.read(bytes(file))


def test_constants_of_2_gib_are_refused() -> None:
    model = schema.ModelT()
    model.buffers = [schema.BufferT(), schema.BufferT()]
    # A view of one byte: it stands for 2 GiB without taking them.
    model.buffers[1].data = np.broadcast_to(np.zeros(1, np.uint8), flatbuffer.MAX_BYTES + 1)
    with pytest.raises(flatbuffer.FlatbufferError, match="2 GiB"):
        flatbuffer.write(model)


def test_constants_are_aligned_for_mapped_files(exported: Exported, recipe: str) -> None:
    """TFLite's schema asks for 16 bytes: kernels may load a mapped constant directly."""
    file = exported.files[recipe]
    parsed = schema.Model.GetRootAs(file, 0)
    checked = 0
    for index in range(parsed.BuffersLength()):
        data = parsed.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray) and data.size:
            start = data.__array_interface__["data"][0]
            base = np.frombuffer(file, np.uint8).__array_interface__["data"][0]
            assert (start - base) % 16 == 0
            checked += 1
    assert checked > 5


def test_vocabularies_are_the_models(exported: Exported, recipe: str) -> None:
    found = flatbuffer.vocabularies(flatbuffer.read(exported.files[recipe]))
    expected = [
        tuple(text.encode() for text in tower.vocabulary)
        for tower in (exported.ranker.users, exported.ranker.candidates)
    ]
    assert sorted(found) == sorted(expected)


def test_every_signature_holds_every_parameter(exported: Exported, recipe: str) -> None:
    counts = flatbuffer.parameters(flatbuffer.read(exported.files[recipe]))
    # Two tables of 32 columns, three kernels, three biases.
    first, second = (layer.bias.size for layer in exported.ranker.dense[:2])
    expected = (944 + 1665) * 32 + 64 * first + first + first * second + second + second + 1
    assert counts == dict.fromkeys(serving.SIGNATURES, expected)
    assert exported.ranker.parameters == expected


def test_largest_constants_have_their_roles(exported: Exported) -> None:
    sizes = flatbuffer.tensor_sizes(flatbuffer.read(exported.files["float32"]))
    assert [(size.role, size.bytes) for size in sizes if size.role == "embedding table"] == [
        ("embedding table", 1665 * 32 * 4),
        ("embedding table", 944 * 32 * 4),
    ]
    assert {size.role for size in sizes} >= {"vocabulary", "dense"}
    assert [size.bytes for size in sizes] == sorted((s.bytes for s in sizes), reverse=True)


def test_op_list_is_by_signature(exported: Exported) -> None:
    uses = flatbuffer.op_uses(flatbuffer.read(exported.files["float32"]))
    finds = {use.signature: use.count for use in uses if use.op == "HASHTABLE_FIND"}
    # `recommend` looks up the user and what was seen.
    assert finds == {"score": 2, "rank": 2, "recommend": 2}
    assert {use.signature for use in uses if use.op == "HASHTABLE_IMPORT"} == {"(initializer)"}


def test_custom_op_is_named(exported: Exported) -> None:
    model = flatbuffer.read(exported.files["float32"])
    _, op = ops_named(model, "GATHER")[0]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = b"FlexStringLower"
    model.operatorCodes.append(code)
    op.opcodeIndex = len(model.operatorCodes) - 1
    assert flatbuffer.op_name(model, op) == "CUSTOM:FlexStringLower"


@given(st.lists(st.binary(max_size=50), max_size=50))
def test_strings_round_trip(values: list[bytes]) -> None:
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers, graph.tensors = [schema.BufferT()], []
    data: Array = string_bytes(values)
    rewriting.add_tensor(graph, "ids", (len(values),), np.int8, rewriting.add_buffer(model, data))
    assert flatbuffer.strings(model, graph.tensors[0]) == values
