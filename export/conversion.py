"""Conversion: serving signatures to a float32 `.tflite`, with builtin ops only."""

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import flatbuffer
from export.serving import Ranker, ServingModule, Tower

Float32 = npt.NDArray[np.float32]

# Rows of what stands in for an embedding table while TensorFlow converts.
STAND_IN_ROWS = 16
# The graphs at most, and each id's share of a hash table: where its text is, and its row.
GRAPH_BYTES = 30_000
ROW_BYTES = 4 + 8


class ConversionError(RuntimeError):
    """TensorFlow's converter refused the signatures, or what comes of them can't be a file."""


class Signatures(Protocol):
    """A module with functions to convert, by the names of their signatures."""

    @property
    def signatures(self) -> Mapping[str, Any]:
        """Every signature by name."""


def of_ranker(ranker: Ranker) -> bytes:
    """Converts a ranker's signatures into one float32 model.

    The converter copies each table a dozen times (3 GB for two of a million rows), so it is
    given a few rows in their place; the tables are put into its graph afterwards.

    Raises:
        ConversionError: as for `to_float32`, or the file would pass 2 GiB.
    """
    check_size(ranker)
    towers = (ranker.users, ranker.candidates)
    stand_ins = [_stand_in(tower, seed) for seed, tower in enumerate(towers)]
    users, candidates = (
        replace(tower, table=table) for tower, table in zip(towers, stand_ins, strict=True)
    )
    small = replace(ranker, users=users, candidates=candidates)
    model = flatbuffer.read(to_float32(ServingModule(small)))
    for tower, table in zip(towers, stand_ins, strict=True):
        if table is not tower.table:
            _put(model, table, tower.table)
    return flatbuffer.write(model)


def check_size(ranker: Ranker) -> None:
    """Refuses what can't become a file, before long work is spent on it.

    Every recipe starts from the float32 model, and a flatbuffer ends at 2 GiB.

    Raises:
        ConversionError: it would be larger; the message names a cut that fits.
    """
    size = float32_bytes(ranker)
    if size <= flatbuffer.MAX_BYTES:
        return
    users, candidates = map(_tower_bytes, (ranker.users, ranker.candidates))
    # A hundredth less: the most frequent ids may be longer than most.
    left = (flatbuffer.MAX_BYTES - (size - users)) * 99 // 100
    if left > users / max(len(ranker.users.vocabulary), 1):
        way_out = f"--users top:{left * len(ranker.users.vocabulary) // users}, or --users none"
    else:
        room = (flatbuffer.MAX_BYTES - (size - users - candidates)) * 99 // 100
        count = room * len(ranker.candidates.vocabulary) // candidates
        way_out = f"--users none --items top:{min(count, len(ranker.candidates.vocabulary))}"
    raise ConversionError(
        f"{len(ranker.users.vocabulary):,} users and {len(ranker.candidates.vocabulary):,} "
        f"candidates come to {size / 2**30:.1f} GiB in the float32 model that every recipe starts "
        f"from, and a .tflite file ends at 2 GiB: cut the vocabularies, with {way_out}"
    )


def float32_bytes(ranker: Ranker) -> int:
    """About how large the float32 model of a ranker is, bytes."""
    dense = sum(layer.kernel.nbytes + layer.bias.nbytes for layer in ranker.dense)
    return GRAPH_BYTES + dense + _tower_bytes(ranker.users) + _tower_bytes(ranker.candidates)


def _tower_bytes(tower: Tower) -> int:
    text = sum(len(one.encode()) for one in tower.vocabulary)
    return tower.table.nbytes + text + ROW_BYTES * len(tower.vocabulary)


def _stand_in(tower: Tower, seed: int) -> Float32:
    """Rows that no other constant equals; the table itself where it is no larger."""
    rows, columns = tower.table.shape
    if rows <= STAND_IN_ROWS:
        return tower.table
    return np.random.default_rng(seed).standard_normal((STAND_IN_ROWS, columns), np.float32)


def _put(model: flatbuffer.Model, stand_in: Float32, table: Float32) -> None:
    """Puts a table where its stand-in is, in every signature."""
    # All are found before any changes: signatures share a buffer.
    found = [
        tensor
        for subgraph in model.subgraphs
        for tensor in subgraph.tensors
        if flatbuffer.shape(tensor) == stand_in.shape
        and (values := flatbuffer.constant(model, tensor)) is not None
        and np.array_equal(values, stand_in)
    ]
    if not found:
        raise ConversionError("TensorFlow's converter left out an embedding table")
    for tensor in found:
        tensor.shape = np.array(table.shape, np.int32)
        model.buffers[tensor.buffer].data = table.reshape(-1).view(np.uint8)


def to_float32(module: Signatures) -> bytes:
    """Converts all signatures of a module into one float32 model.

    A SavedModel in a scratch folder stands between, since the lookups' hash tables convert
    from there alone. Recipes are applied afterwards, to these bytes.

    Raises:
        ConversionError: an op has no builtin, or the file would be too large.
    """
    signatures = module.signatures
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        # Builtins alone: a Flex op would need TensorFlow itself on the phone.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            model: bytes = converter.convert()
        except Exception as error:  # The converter raises its own and plain exceptions.
            first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            raise ConversionError(f"TensorFlow's converter failed: {first}") from error
    flatbuffer.read(model)
    return model
