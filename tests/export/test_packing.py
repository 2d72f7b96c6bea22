"""The builder that shares vectors: what it writes reads as what a plain one writes."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given
from hypothesis import strategies as st

from export.packing import SharingBuilder, with_equal_parts_once

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
    content = packed(with_equal_parts_once(model_of(texts, shapes, constants)), SharingBuilder(16))
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


def with_options(axes: list[int], scales: list[float]) -> schema.ModelT:
    """A model with an op for each axis and a tensor for each scale."""
    model = model_of([""] * len(scales), [[2]] * len(scales), [])
    graph = model.subgraphs[0]
    for tensor, scale in zip(graph.tensors, scales, strict=True):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.array([scale], np.float32)
    graph.operators = []
    for axis in axes:
        op = schema.OperatorT()
        op.builtinOptions = schema.ConcatenationOptionsT()
        op.builtinOptions.axis = axis
        op.builtinOptionsType = schema.BuiltinOptions.ConcatenationOptions
        graph.operators.append(op)
    return model


@given(
    st.lists(st.integers(-2, 2), max_size=8),
    st.lists(st.sampled_from([0.0, -0.0, 0.5, 1.5, float("inf")]), max_size=8),
)
def test_options_and_scales_read_back(axes: list[int], scales: list[float]) -> None:
    content = packed(with_equal_parts_once(with_options(axes, scales)), SharingBuilder(16))
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    assert [op.builtinOptions.axis for op in graph.operators or []] == axes
    found = [float(t.quantization.scale[0]).hex() for t in graph.tensors or []]
    assert found == [scale.hex() for scale in scales]


def test_equal_tensors_and_options_are_written_once() -> None:
    model = with_options([1, 1, 2], [0.5, 0.5, 1.5])
    content = packed(with_equal_parts_once(model), SharingBuilder(1024))
    assert model.subgraphs[0].tensors[0].shape == [2]  # The model itself stays.
    graph = schema.Model.GetRootAs(content, 0).Subgraphs(0)
    tensors = [graph.Tensors(number)._tab.Pos for number in range(3)]
    options = [graph.Operators(number).BuiltinOptions().Pos for number in range(3)]
    for places in (tensors, options):
        assert places[0] == places[1] != places[2]
