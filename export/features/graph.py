"""A model's frozen graph: its nodes in order, the layer that each belongs to, and its replay."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

# TensorFlow's protocol buffers come without types.
Node: TypeAlias = Any
GraphDef: TypeAlias = Any

Values: TypeAlias = list[Any]
# Gives a node's outputs, or None where the node itself is to stand.
Substitute: TypeAlias = Callable[["Graph", Node, Values], Values | None]

_PASS_ON = ("Identity", "StopGradient", "PreventGradient", "CheckNumerics")

# Ops that read a trained matrix: a table's rows, or a kernel.
_MULTIPLIES = ("GatherV2", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")


@dataclass(frozen=True)
class Table:
    """A look-up table's content: `keys[n]` and `values[n]`, strings as `bytes` objects."""

    keys: npt.NDArray[Any]
    values: npt.NDArray[Any]


@dataclass(frozen=True)
class Layer:
    """A Keras layer by class and name; the class is empty where no Keras metadata tells it."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r}" if self.kind else f"the op {self.name!r}"


class Graph:
    """An inlined graph without variables; calls stand in it as the nodes that they made.

    Attributes:
        definition: the graph.
    """

    def __init__(self, graph: tf.Graph, layers: Callable[[], Mapping[str, str]]) -> None:
        """Takes a TensorFlow graph, and what tells the layers' classes by name if asked."""
        self.definition = graph.as_graph_def()
        self._graph = graph
        self._ask_layers = layers
        self._nodes = {node.name: node for node in self.definition.node}

    @cached_property
    def _layers(self) -> Mapping[str, str]:
        return self._ask_layers()

    def node(self, tensor: str) -> Node:
        """The node that makes a tensor, `name` or `name:index`."""
        return self._nodes[_split(tensor)[0]]

    def order(self, outputs: Sequence[str]) -> list[Node]:
        """The nodes that tensors depend on, each after those it reads.

        Control dependencies are not followed: assertions and the like compute nothing.
        """
        ordered: list[Node] = []
        done: set[str] = set()
        stack = [(self.node(output), False) for output in reversed(outputs)]
        while stack:
            node, read = stack.pop()
            if read:
                ordered.append(node)
            elif node.name not in done:
                done.add(node.name)
                stack.append((node, True))
                stack += [(self.node(tensor), False) for tensor in reversed(data_inputs(node))]
        return ordered

    def layer(self, node: Node) -> Layer:
        """The innermost layer whose name scope a node stands in, or else the node itself."""
        for scope in reversed(node.name.split("/")):
            if scope in self._layers:
                return Layer(self._layers[scope], scope)
        return Layer("", node.name)

    def origin(self, tensor: str) -> Node:
        """The node that a tensor comes from, past those that only pass on what they get."""
        node = self.node(tensor)
        while node.op in _PASS_ON:
            node = self.node(data_inputs(node)[0])
        return node

    def constant(self, tensor: str) -> npt.NDArray[Any] | None:
        """A constant's values, or None for a tensor that is computed."""
        node = self.origin(tensor)
        return tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else None

    def spec(self, tensor: str) -> tf.TensorSpec:
        """A tensor's type, and its shape as far as it is known."""
        known = self._graph.get_tensor_by_name("{}:{}".format(*_split(tensor)))
        return tf.TensorSpec(known.shape, known.dtype)

    def functions(self) -> Iterator[Node]:
        """The nodes of function bodies, which only control flow leaves in an inlined graph."""
        for function in self.definition.library.function:
            yield from function.node_def

    def replay(
        self,
        feeds: Mapping[str, Any],
        outputs: Sequence[str],
        substitutes: Mapping[str, Substitute],
    ) -> Values:
        """Computes tensors from others in the TensorFlow graph being built.

        Args:
            feeds: placeholders' values by node name.
            outputs: the tensors wanted.
            substitutes: what stands for ops, by op.
        """
        if self.definition.library.function:
            library = type(self.definition)(library=self.definition.library)
            tf.graph_util.import_graph_def(library, name="")
        made: dict[str, Values] = {name: [value] for name, value in feeds.items()}
        for node in self.order(outputs):
            if node.name in made:
                continue
            inputs = [_value(made, tensor) for tensor in data_inputs(node)]
            substitute = substitutes.get(node.op)
            values = substitute(self, node, inputs) if substitute else None
            made[node.name] = _stand(node, inputs) if values is None else values
        return [_value(made, tensor) for tensor in outputs]


def data_inputs(node: Node) -> list[str]:
    """The tensors that a node reads, without control dependencies."""
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _stand(node: Node, inputs: Values) -> Values:
    """A node in the TensorFlow graph being built, or its input where it only passes that on."""
    if node.op in _PASS_ON:
        return inputs
    graph = tf.compat.v1.get_default_graph()
    attributes = {name: value for name, value in node.attr.items() if not name.startswith("_")}
    operation = graph.create_op(node.op, inputs, name=node.name, attrs=attributes)
    return list(operation.outputs)


def _split(tensor: str) -> tuple[str, int]:
    name, _, index = tensor.removeprefix("^").partition(":")
    return name, int(index or 0)


def _value(made: Mapping[str, Values], tensor: str) -> Any:
    name, index = _split(tensor)
    return made[name][index]


def matrices(graph: Graph, outputs: Sequence[str]) -> tuple[npt.NDArray[np.float32], ...]:
    """The trained float matrices that outputs depend on: tables and kernels, in graph order."""
    found: dict[str, npt.NDArray[np.float32]] = {}
    for node in graph.order(outputs):
        for tensor in data_inputs(node) if node.op in _MULTIPLIES else ():
            origin = graph.origin(tensor)
            while origin.op in ("Reshape", "Transpose"):
                origin = graph.origin(data_inputs(origin)[0])
            values = graph.constant(origin.name)
            if values is not None and values.dtype == np.float32 and values.ndim >= 2:
                found[origin.name] = values
    return tuple(found.values())
