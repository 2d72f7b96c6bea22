"""What of a model has no TFLite builtins: asked before conversion, and named layer by layer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import tensorflow as tf

from export import conversion
from export.features import substitutes
from export.features.graph import Graph, Layer, Node
from export.features.model import FeatureModel
from export.features.serving import FeatureModule
from export.serving import ModelError

# Ops that convert for all plain types: the converter need not be asked.
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
_LIST = "TensorListReserve"
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
        _LIST: "give the recurrent layer unroll=True: a loop needs to know how many rows there are",
        substitutes.BINCOUNT: "use CategoryEncoding with output_mode 'multi_hot', 'one_hot' or "
        "'count', whose size is fixed",
        substitutes.FIND: "look up strings or integers, with one kind of value",
    }
)
_OTHERWISE = "replace the layer, or compute it before the model and make it a feature"
# How the converter's messages name an op.
_NAMED = re.compile(r"'tf\.(\w+)' op")
# Whatever stands around them.
_NEVER = frozenset(ADVICE) - {substitutes.BINCOUNT, substitutes.FIND, _LIST}


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
    """Every layer that can't be converted, in the graph's order.

    Where an op is neither known to convert nor known not to, TensorFlow's converter is given the
    whole model, and what it names counts: some ops convert only as part of a pattern.
    """
    graph = model.graph
    nodes = graph.order(list(model.outputs.values()))
    refused = {node.name for node in nodes if _has_no_builtin(graph, node)}
    if not all(_is_known(node) for node in nodes if node.name not in refused):
        ops = _refused_by_the_converter(model)
        refused |= {node.name for node in nodes if node.op in ops}
    in_the_way = [node for node in nodes if node.name in refused]
    # Bodies of loops and branches, which the converter may name otherwise.
    in_the_way += [node for node in graph.functions() if node.op in _NEVER]
    found: dict[Layer, list[str]] = {}
    for node in in_the_way:
        names = found.setdefault(graph.layer(node), [])
        if node.op not in names:
            names.append(node.op)
    return tuple(Obstacle(layer, tuple(ops), _advice(layer, ops)) for layer, ops in found.items())


def _advice(layer: Layer, ops: list[str]) -> str:
    if layer.kind in _LOOKUPS and "StringToHashBucketFast" in ops:
        return _ONE_UNKNOWN
    return next((ADVICE[op] for op in ops if op in ADVICE), _OTHERWISE)


def _has_no_builtin(graph: Graph, node: Node) -> bool:
    if node.op == substitutes.BINCOUNT:
        return substitutes.bincount_size(graph, node) is None
    if node.op == substitutes.FIND:
        return tf.as_dtype(node.attr["Tin"].type) not in (tf.string, tf.int64, tf.int32)
    return node.op in _NEVER


def _is_known(node: Node) -> bool:
    """Whether an op converts for certain."""
    if node.op in substitutes.SUBSTITUTES or node.op in ("Const", "Placeholder", "Identity"):
        return True
    types = (value.type for value in node.attr.values() if value.HasField("type"))
    return node.op in CONVERTED and all(one in _PLAIN for one in types)


def _refused_by_the_converter(model: FeatureModel) -> set[str]:
    """The ops that stop a conversion of the whole model; none where it converts."""
    try:
        conversion.to_float32(FeatureModule(model))
    except conversion.ConversionError as error:
        return set(_NAMED.findall(str(error.__cause__)))
    return set()
