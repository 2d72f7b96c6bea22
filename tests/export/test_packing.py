"""The builder that shares vectors: what it writes reads as what a plain one writes."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from export.packing import SharingBuilder

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def model_of(texts: list[str], shapes: list[list[int]], constants: list[bytes]) -> schema.ModelT:
    """A model that holds these names, shapes and constants."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.buffers = [schema.BufferT()]
    for content in constants:
        model.buffers.append(schema.BufferT())
        model.buffers[-1].data = np.frombuffer(content, np.uint8)
    graph.tensors = []
    for text, shape in zip(texts, shapes, strict=False):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = text, shape
        graph.tensors.append(tensor)
    model.subgraphs = [graph]
    return model


def packed(model: schema.ModelT, builder: flatbuffers.Builder) -> bytes:
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@given(
    st.lists(names, max_size=8),
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), max_size=8),
    st.lists(st.binary(min_size=1, max_size=40), max_size=8),
)
def test_what_is_written_reads_back(
    texts: list[str], shapes: list[list[int]], constants: list[bytes]
) -> None:
    content = packed(model_of(texts, shapes, constants), SharingBuilder(16))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    assert [bytes(buffer.data) for buffer in model.buffers[1:]] == constants
    tensors = model.subgraphs[0].tensors
    pairs = list(zip(texts, shapes, strict=False))
    assert [(t.name.decode(), list(t.shape)) for t in tensors] == pairs


def test_equal_vectors_are_written_once() -> None:
    constant = bytes(range(200))
    model = model_of(["name"] * 4, [[1, 2, 3]] * 4, [constant] * 4)
    shared = packed(model, SharingBuilder(1024))
    plain = packed(model, flatbuffers.Builder(1024))
    assert shared.count(constant) == 1
    assert plain.count(constant) == 4
    assert shared.count(b"name\0") == 1
