"""Versions: the first TensorFlow Lite release that runs an op at its version.

The facts are those of TensorFlow's `lite/tools/versioning/runtime_version.cc`, for ops that
ranking models are converted to. An op's version grows with the types and shapes that it takes.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from export.flatbuffer import OpUse

# Releases by op, of its versions 1, 2, 3, …
RELEASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "ABS": ("1.13.0", "2.4.0", "2.5.0", "2.6.0"),
        "ADD": ("1.5.0", "1.14.0", "2.4.0", "2.6.0"),
        "ARG_MAX": ("1.9.0", "1.14.0", "2.9.0"),
        "ARG_MIN": ("1.9.0", "1.14.0", "2.9.0"),
        "BATCH_MATMUL": ("2.3.0", "2.3.0", "2.4.0", "2.5.0"),
        "BROADCAST_ARGS": ("2.6.0",),
        "BUCKETIZE": ("2.8.0",),
        "CALL_ONCE": ("2.5.0",),
        "CAST": ("1.5.0", "2.7.0", "2.8.0", "2.9.0", "2.12.0"),
        "CEIL": ("1.14.0",),
        "CONCATENATION": ("1.5.0", "1.14.0", "2.3.0"),
        "COS": ("1.14.0",),
        "CUMSUM": ("2.4.0",),
        "DEQUANTIZE": ("1.13.1", "1.14.0", "1.15.0", "2.2.0", "2.7.0"),
        "DIV": ("1.6.0", "2.3.0"),
        "ELU": ("1.14.0",),
        "EMBEDDING_LOOKUP": ("1.13.0", "1.14.0", "1.14.0"),
        "EQUAL": ("1.14.0", "1.14.0", "2.3.0"),
        "EXP": ("1.7.0",),
        "EXPAND_DIMS": ("1.10.0",),
        "FILL": ("1.13.0", "2.3.0", "2.5.0"),
        "FLOOR": ("1.9.0",),
        "FLOOR_DIV": ("1.14.0", "1.14.0"),
        "FLOOR_MOD": ("1.13.0",),
        "FULLY_CONNECTED": (
            *("1.5.0", "1.10.0", "1.14.0", "1.14.0", "2.0.0"),
            *("2.1.0", "2.3.0", "2.3.0", "2.3.0", "2.11.0"),
        ),
        "GATHER": ("1.6.0", "1.14.0", "1.15.0", "2.4.0", "2.5.0"),
        "GATHER_ND": ("1.14.0", "2.3.0", "2.5.0"),
        "GELU": ("2.9.0", "2.9.0"),
        "GREATER": ("1.14.0", "1.14.0"),
        "GREATER_EQUAL": ("1.14.0", "1.14.0"),
        "HARD_SWISH": ("1.15.0",),
        "HASHTABLE": ("2.5.0",),
        "HASHTABLE_FIND": ("2.5.0",),
        "HASHTABLE_IMPORT": ("2.5.0",),
        "HASHTABLE_SIZE": ("2.5.0",),
        "IF": ("1.15.0",),
        "L2_NORMALIZATION": ("1.5.0", "1.14.0"),
        "LEAKY_RELU": ("1.13.1", "2.3.0"),
        "LESS": ("1.14.0", "1.14.0"),
        "LESS_EQUAL": ("1.14.0", "1.14.0"),
        "LOG": ("1.14.0",),
        "LOG_SOFTMAX": ("1.14.0", "1.14.0"),
        "LOGICAL_AND": ("1.11.0",),
        "LOGICAL_NOT": ("1.11.0",),
        "LOGICAL_OR": ("1.11.0",),
        "LOGISTIC": ("1.14.0", "1.14.0", "2.3.0"),
        "MAXIMUM": ("1.14.0", "1.14.0", "2.3.0", "2.3.0"),
        "MEAN": ("1.6.0", "1.14.0", "2.4.0"),
        "MINIMUM": ("1.14.0", "1.14.0", "2.3.0", "2.3.0"),
        "MUL": ("1.5.0", "1.14.0", "1.15.0", "2.3.0", "2.6.0"),
        "NEG": ("1.9.0",),
        "NOT_EQUAL": ("1.14.0", "1.14.0", "2.3.0"),
        "ONE_HOT": ("1.11.0",),
        "PACK": ("1.11.0", "1.14.0", "2.3.0"),
        "PAD": ("1.5.0", "1.14.0", "2.4.0", "2.6.0"),
        "PADV2": ("1.9.0", "1.14.0", "2.4.0", "2.6.0"),
        "POW": ("1.10.0",),
        "PRELU": ("1.8.0",),
        "QUANTIZE": ("1.14.0", "1.15.0", "2.7.0"),
        "RANGE": ("1.13.0",),
        "RANK": ("1.14.0",),
        "REDUCE_ALL": ("2.6.0",),
        "REDUCE_ANY": ("1.11.0",),
        "REDUCE_MAX": ("1.11.0", "1.14.0", "2.5.0"),
        "REDUCE_MIN": ("1.11.0", "1.14.0", "2.5.0"),
        "REDUCE_PROD": ("1.11.0", "2.6.0"),
        "RELU": ("1.5.0", "2.1.0", "2.5.0"),
        "RELU6": ("1.5.0", "1.14.0", "2.5.0"),
        "RESHAPE": ("1.5.0",),
        "ROUND": ("1.14.0",),
        "RSQRT": ("1.10.0", "2.5.0"),
        "SCATTER_ND": ("2.1.0",),
        "SELECT": ("1.14.0", "1.14.0"),
        "SELECT_V2": ("2.2.0",),
        "SHAPE": ("1.10.0",),
        "SIN": ("1.9.0",),
        "SLICE": ("1.14.0", "1.14.0", "1.14.0", "2.4.0", "2.5.0"),
        "SOFTMAX": ("1.5.0", "1.14.0", "2.3.0"),
        "SPLIT": ("1.5.0", "1.14.0", "1.14.0", "2.3.0"),
        "SPLIT_V": ("1.13.1", "2.3.0"),
        "SQRT": ("1.10.0",),
        "SQUARE": ("1.12.0",),
        "SQUARED_DIFFERENCE": ("1.13.1", "2.5.0"),
        "SQUEEZE": ("1.6.0", "2.5.0"),
        "STRIDED_SLICE": ("1.6.0", "1.14.0", "2.1.0", "2.2.0", "2.5.0", "2.6.0"),
        "SUB": ("1.6.0", "1.14.0", "2.3.0", "2.4.0", "2.4.0"),
        "SUM": ("1.10.0", "1.15.0"),
        "TANH": ("1.14.0", "1.14.0", "2.3.0"),
        "TILE": ("1.10.1", "2.2.0", "2.8.0"),
        "TOPK_V2": ("1.7.0", "1.14.0"),
        "TRANSPOSE": ("1.6.0", "1.14.0", "1.15.0", "2.3.0", "2.4.0"),
        "UNIQUE": ("1.14.0",),
        "UNPACK": ("1.11.0", "1.14.0", "2.2.0", "2.3.0"),
        "UNSORTED_SEGMENT_SUM": ("2.10.0",),
        "WHERE": ("1.14.0", "2.8.0"),
        "WHILE": ("1.15.0",),
        "ZEROS_LIKE": ("1.12.0",),
    }
)


def release(use: OpUse) -> str | None:
    """The first release that runs an op at this version; None where the list has it not."""
    releases = RELEASES.get(use.op, ())
    return releases[use.version - 1] if 0 < use.version <= len(releases) else None


def minimum(uses: Iterable[OpUse]) -> str | None:
    """The first release that runs all of these ops; None where one of them is not listed."""
    releases = [release(use) for use in uses]
    known = [one for one in releases if one is not None]
    return max(known, key=_numbers, default=None) if len(known) == len(releases) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
