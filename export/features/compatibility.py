"""What of a model has no TFLite builtins: asked before conversion, and named layer by layer."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import tensorflow as tf

from export.features import substitutes
from export.features.graph import Graph, Layer, Node, data_inputs, stand
from export.features.model import FeatureModel
from export.serving import ModelError

# Ops that convert for all plain types: the converter need not be asked about them.
_CONVERTED = """
    Abs Add AddN AddV2 All Any ArgMax ArgMin BatchMatMulV2 BiasAdd BroadcastTo Cast Ceil ConcatV2
    Const Cos Cumsum Div DivNoNan Elu Equal Exp ExpandDims Fill Floor FloorDiv FloorMod GatherNd
    GatherV2 Greater GreaterEqual Identity L2Loss LeakyRelu Less LessEqual Log LogicalAnd
    LogicalNot LogicalOr MatMul Max Maximum Mean Min Minimum Mul Neg NotEqual OneHot Pack Pad
    PadV2 Placeholder Pow Prod Range Rank RealDiv Relu Relu6 Reshape Round Rsqrt Select SelectV2
    Selu Shape Sigmoid Sin Size Softmax Split SplitV Sqrt Square SquaredDifference Squeeze
    StopGradient StridedSlice Sub Sum Tanh Tile TopKV2 Transpose Unpack Where ZerosLike
"""
CONVERTED = frozenset(_CONVERTED.split())
_PLAIN = frozenset(t.as_datatype_enum for t in (tf.float32, tf.int32, tf.int64, tf.bool))

_HASHED = (
    "the hash of a string that nobody has seen can't be computed: use StringLookup with a "
    "vocabulary, or compute the bucket before the model and make it an integer feature"
)
_TEXT = (
    "text can't be taken apart: split and clean it before the model, and use StringLookup on the "
    "tokens"
)
_LOOKUPS = ("StringLookup", "IntegerLookup")
_ONE_UNKNOWN = "give the layer num_oov_indices=1: several share unknown ids out by their hash"
ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "StringToHashBucketFast": _HASHED,
        "StringToHashBucketStrong": _HASHED,
        "StringToHashBucket": _HASHED,
        "SparseCross": "compute the cross before the model and look it up as one string feature",
        "SparseCrossV2": "compute the cross before the model and look it up as one string feature",
        "SparseCrossHashed": "compute the cross before the model, and make it an integer feature",
        "StaticRegexReplace": _TEXT,
        "RegexReplace": _TEXT,
        "StringSplitV2": _TEXT,
        "StringLower": _TEXT,
        "StringJoin": "join the strings before the model, and make it one string feature",
        "AsString": "give the feature as a string, or use IntegerLookup on the number",
        "ParseExampleV2": "save the model with its features as the signature's own inputs, not "
        "with serialized examples",
        substitutes.BINCOUNT: "use CategoryEncoding with output_mode 'multi_hot', 'one_hot' or "
        "'count', whose size is fixed",
        substitutes.FIND: "look up strings or integers, with one kind of value",
    }
)
_OTHERWISE = "replace the layer, or compute it before the model and make it a feature"
_REFUSED = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")


@dataclass(frozen=True)
class Obstacle:
    """A layer that can't be converted: its ops that have no builtin, and what to change."""

    layer: Layer
    ops: tuple[str, ...]
    advice: str

    def __str__(self) -> str:
        verb = "has" if len(self.ops) == 1 else "have"
        return f"{self.layer}: {', '.join(self.ops)} {verb} no TFLite builtin; {self.advice}"


class IncompatibleModelError(ModelError):
    """Layers can't be converted; the message has a line for each."""

    def __init__(self, obstacles: tuple[Obstacle, ...]) -> None:
        super().__init__("\n".join(["the model can't be converted", *map(str, obstacles)]))
        self.obstacles = obstacles


def check(model: FeatureModel) -> None:
    """Sees whether TFLite has builtins for the whole model.

    Raises:
        IncompatibleModelError: it doesn't; the error names each layer in the way.
    """
    found = obstacles(model)
    if found:
        raise IncompatibleModelError(found)


def obstacles(model: FeatureModel) -> tuple[Obstacle, ...]:
    """Every layer that can't be converted, in the graph's order."""
    found: dict[Layer, list[str]] = {}
    for node in _unconverted(model.graph, list(model.outputs.values())):
        names = found.setdefault(model.graph.layer(node), [])
        if node.op not in names:
            names.append(node.op)
    return tuple(Obstacle(layer, tuple(ops), _advice(layer, ops)) for layer, ops in found.items())


def _advice(layer: Layer, ops: list[str]) -> str:
    if layer.kind in _LOOKUPS and "StringToHashBucketFast" in ops:
        return _ONE_UNKNOWN
    return next((ADVICE[op] for op in ops if op in ADVICE), _OTHERWISE)


def _unconverted(graph: Graph, outputs: list[str]) -> Iterator[Node]:
    asked: dict[object, bool] = {}
    for node in graph.order(outputs):
        if node.op in substitutes.SUBSTITUTES:
            if not _substituted(graph, node):
                yield node
        elif not (_is_plain(node) or _is_control_flow(node)):
            key = (node.op, str(sorted((k, str(v)) for k, v in node.attr.items())))
            if key not in asked:
                asked[key] = _converts(graph, node)
            if not asked[key]:
                yield node
    # Bodies of loops and branches: the ops known to have no builtin.
    yield from (node for node in graph.functions() if node.op in ADVICE)


def _substituted(graph: Graph, node: Node) -> bool:
    if node.op == substitutes.BINCOUNT:
        return substitutes.bincount_size(graph, node) is not None
    if node.op == substitutes.FIND:
        return tf.as_dtype(node.attr["Tin"].type) in (tf.string, tf.int64, tf.int32)
    return True


def _is_plain(node: Node) -> bool:
    if node.op in ("Const", "Placeholder", "Identity"):
        return True
    types = (value.type for value in node.attr.values() if value.HasField("type"))
    return node.op in CONVERTED and all(one in _PLAIN for one in types)


def _is_control_flow(node: Node) -> bool:
    return any(value.HasField("func") for value in node.attr.values())


def _converts(graph: Graph, node: Node) -> bool:
    """Asks TensorFlow's converter about one op, with the constants that it has in the model."""
    feeds = {}
    for tensor in data_inputs(node):
        if graph.constant(tensor) is None:
            feeds[tensor] = graph.spec(tensor)

    @tf.function(input_signature=[list(feeds.values())])
    def alone(values: list[tf.Tensor]) -> list[tf.Tensor]:
        given = dict(zip(feeds, values, strict=True))
        inputs = [
            given[tensor] if tensor in given else tf.constant(graph.constant(tensor))
            for tensor in data_inputs(node)
        ]
        return stand(node, inputs)

    try:
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [alone.get_concrete_function()], alone
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.convert()
    except Exception as error:  # The converter raises its own and plain exceptions.
        # Anything else than a plain refusal is for the conversion of the whole to tell.
        return _REFUSED.search(str(error)) is None
    return True
