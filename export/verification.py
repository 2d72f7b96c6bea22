"""Verification: what a `.tflite` from anywhere must keep to before its parts are touched.

A flatbuffer's offsets may overlap, so a small file can stand for an endless one, and its
indices may point anywhere. Parsing is bounded first; then every index is checked once, so that
whatever reads the model need not.
"""

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

MAX_PARTS = 500_000
"""Tables, operands and dimensions together: a graph of some 50,000 ops. FlatBuffers' own verifier
lets a million tables through, which Python would take a minute to make."""

MAX_NAMES = 2**26
"""Bytes of all names, each as often as it is used."""


class _Budget:
    """What is left of both limits."""

    def __init__(self) -> None:
        self._parts, self._names = MAX_PARTS, MAX_NAMES

    def spend(self, *parts: int) -> None:
        self._parts -= sum(parts)
        if self._parts < 0:
            raise ValueError(f"more than {MAX_PARTS:,} parts")

    def name(self, text: bytes | None) -> None:
        self._names -= len(text or b"")
        if self._names < 0:
            raise ValueError(f"more than {MAX_NAMES:,} bytes of names")


def check_size(root: Any) -> None:
    """Bounds what parsing a model would make.

    Args:
        root: the schema's `Model`, which reads by offsets and makes nothing yet.

    Raises:
        ValueError: it would pass a limit above.
        struct.error, TypeError: an offset lies outside the file.
    """
    budget = _Budget()
    budget.spend(
        root.OperatorCodesLength(),
        root.SubgraphsLength(),
        root.BuffersLength(),
        root.MetadataLength(),
        root.SignatureDefsLength(),
        root.ExternalBufferGroupsLength(),
        root.ExternalBuffersLength(),
    )
    budget.name(root.Description())
    for index in range(root.OperatorCodesLength()):
        budget.name(root.OperatorCodes(index).CustomCode())
    for index in range(root.MetadataLength()):
        budget.name(root.Metadata(index).Name())
    for index in range(root.ExternalBufferGroupsLength()):
        budget.name(root.ExternalBufferGroups(index).Name())
    for index in range(root.ExternalBuffersLength()):
        budget.name(root.ExternalBuffers(index).Packing())
    for index in range(root.SignatureDefsLength()):
        _signature(budget, root.SignatureDefs(index))
    graphs = [root.Subgraphs(index) for index in range(root.SubgraphsLength())]
    # All vectors' lengths first, which takes a moment; then what is in them.
    for graph in graphs:
        budget.spend(graph.TensorsLength(), graph.OperatorsLength())
        budget.spend(graph.InputsLength(), graph.OutputsLength())
    for graph in graphs:
        _subgraph(budget, graph)


def _signature(budget: _Budget, signature: Any) -> None:
    budget.name(signature.SignatureKey())
    budget.spend(signature.InputsLength(), signature.OutputsLength())
    for index in range(signature.InputsLength()):
        budget.name(signature.Inputs(index).Name())
    for index in range(signature.OutputsLength()):
        budget.name(signature.Outputs(index).Name())


def _subgraph(budget: _Budget, graph: Any) -> None:
    budget.name(graph.Name())
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        budget.name(tensor.Name())
        budget.spend(tensor.ShapeLength(), tensor.VariantTensorsLength())
        sparsity = tensor.Sparsity()
        if sparsity is not None:
            budget.spend(sparsity.DimMetadataLength())
    for index in range(graph.OperatorsLength()):
        op = graph.Operators(index)
        budget.spend(op.InputsLength(), op.OutputsLength())


def check_indices(model: Any) -> None:
    """Checks that every index of a parsed model points at something; absent lists become empty.

    Raises:
        ValueError: one does not.
    """
    for owner, names in (
        (model, ("operatorCodes", "subgraphs", "buffers")),
        *((graph, ("tensors", "operators")) for graph in model.subgraphs or []),
    ):
        for name in names:
            if getattr(owner, name) is None:
                setattr(owner, name, [])
    buffers = len(model.buffers)
    _within("metadata buffer", [entry.buffer for entry in model.metadata or []], buffers)
    for graph in model.subgraphs:
        count = len(graph.tensors)
        _within("buffer", [tensor.buffer for tensor in graph.tensors], buffers)
        _within("op code", [op.opcodeIndex for op in graph.operators], len(model.operatorCodes))
        for ends in (graph.inputs, graph.outputs):
            _within("tensor", ends, count)
        for op in graph.operators:
            # -1 stands for an operand left out.
            _within("tensor", op.inputs, count, least=-1)
            _within("tensor", op.outputs, count, least=-1)
    for signature in model.signatureDefs or []:
        _within("subgraph", [signature.subgraphIndex], len(model.subgraphs))
        count = len(model.subgraphs[signature.subgraphIndex].tensors)
        for maps in (signature.inputs, signature.outputs):
            _within("tensor", [entry.tensorIndex for entry in maps or []], count)


def _within(what: str, indices: Any, count: int, least: int = 0) -> None:
    numbers = np.asarray([] if indices is None else indices, np.int64)
    if numbers.size and not (least <= numbers.min() and numbers.max() < count):
        raise ValueError(f"a {what} of {count} is out of range")


def parse(data: bytes) -> Any:
    """The schema's `ModelT`, within the limits above and with every index checked.

    Raises:
        Exception: of many kinds, for a damaged file.
    """
    root = schema.Model.GetRootAs(data, 0)
    check_size(root)
    model = schema.ModelT.InitFromObj(root)
    check_indices(model)
    return model
