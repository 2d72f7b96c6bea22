"""Made catalogues of any size, and their files: `python -m benchmarks.made KIND SIZE FOLDER`.

Nothing is trained: size, memory and speed don't depend on what the numbers are. Each kind of file
is made in a process of its own, whose peak memory is then known.
"""

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from benchmarks import apart, contenders
from export import conversion, quantization, serving, stable_units
from export.serving import DenseLayer, Ranker, Tower

DIMENSION = 32
UNITS = (256, 64, 1)
NAIVE = "naive"
NAIVE_QUANTIZED = "naive quantized"
LOOKUPS = "look-ups alone"
OURS = "ours"
KINDS = (NAIVE, NAIVE_QUANTIZED, LOOKUPS, OURS)
RECIPES = ("int8", "int4")

_FIRST = (
    *("Last", "Silent", "Golden", "Crimson", "Broken", "Hidden", "Eternal"),
    *("Distant", "Burning", "Frozen", "Lonely"),
)
_SECOND = (
    *("River", "Empire", "Garden", "Stranger", "Harbor"),
    *("Winter", "Promise", "Shadow", "Highway", "Orchard"),
)
_THIRD = (
    *("of Avalon", "in the Dark", "at Midnight", "of the North", ""),
    *("and the Sea", "Returns", ": A Love Story"),
)


def titles(count: int) -> list[str]:
    """Titles like MovieLens's, all different: `Silent Harbor of Avalon 12 (1994)`."""
    made = []
    for number in range(count):
        rest, first = divmod(number, len(_FIRST))
        rest, second = divmod(rest, len(_SECOND))
        rest, third = divmod(rest, len(_THIRD))
        words = [_FIRST[first], _SECOND[second], _THIRD[third], str(rest) if rest else ""]
        made.append(f"{' '.join(filter(None, words))} ({1920 + number % 79})")
    return made


def users(count: int) -> list[str]:
    """User ids like MovieLens's: numbers."""
    return [str(number) for number in range(1, count + 1)]


def ranker(count: int) -> Ranker:
    """A ranker of the tutorial's shape, with so many users and so many titles."""
    random = np.random.default_rng(count)

    def tower(vocabulary: list[str]) -> Tower:
        lookup = tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None)
        table = random.standard_normal((len(vocabulary) + 1, DIMENSION), np.float32) / 20
        return Tower(lookup, tuple(vocabulary), table)

    widths = (2 * DIMENSION, *UNITS)
    dense = tuple(
        DenseLayer(
            random.standard_normal((inner, outer), np.float32) / np.float32(np.sqrt(inner)),
            np.zeros(outer, np.float32),
            relu=outer > 1,
        )
        for inner, outer in itertools.pairwise(widths)
    )
    return Ranker(tower(users(count)), tower(titles(count)), dense)


class Plain(tf.Module):
    """The tutorial's graph without Keras: look-ups, rows side by side, dense layers."""

    def __init__(self, parts: Ranker, *, reshape: bool, lookups_alone: bool = False) -> None:
        super().__init__()
        self._parts, self._reshape, self._alone = parts, reshape, lookups_alone
        # Tracked by the SavedModel; made towers always have one.
        self._lookups: list[Any] = [parts.users.lookup, parts.candidates.lookup]
        self._tables = [] if lookups_alone else [parts.users.table, parts.candidates.table]

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, serving.USER),
            tf.TensorSpec([None], tf.string, serving.CANDIDATE),
        ]
    )
    def score(self, user_id: tf.Tensor, movie_title: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores pairs; of look-ups alone, the sums of their rows' numbers."""
        ids = [
            lookup(column)
            for lookup, column in zip(self._lookups, (user_id, movie_title), strict=True)
        ]
        if self._alone:
            return {serving.SCORE: tf.cast(ids[0] + ids[1], tf.float32)}
        if self._reshape:
            # XNNPACK refuses the quantized graph without a known rank.
            ids = [tf.reshape(one, [-1]) for one in ids]
        rows = [tf.gather(table, one) for table, one in zip(self._tables, ids, strict=True)]
        hidden = tf.concat(rows, axis=1)
        for layer in self._parts.dense:
            hidden = tf.matmul(hidden, layer.kernel) + layer.bias
            hidden = tf.nn.relu(hidden) if layer.relu else hidden
        return {serving.SCORE: hidden}


def write(kind: str, count: int, folder: Path) -> dict[str, Any]:
    """Writes one kind's files of one size.

    Returns:
        Paths by the files' names, processor seconds of each stage (a busy neighbour doesn't
        count), and the process's peak bytes.
    """
    parts = ranker(count)
    files: dict[str, bytes] = {}
    start = time.process_time()
    seconds: dict[str, float] = {}

    def done(stage: str) -> None:
        nonlocal start
        seconds[stage] = time.process_time() - start
        start = time.process_time()

    if kind == OURS:
        float_model = conversion.of_ranker(stable_units.simplify(parts).ranker)
        done("float32")
        for recipe in RECIPES:
            files[recipe] = quantization.apply(quantization.RECIPES[recipe], float_model)
            done(recipe)
    else:
        module = Plain(parts, reshape=kind == NAIVE_QUANTIZED, lookups_alone=kind == LOOKUPS)
        quantized = kind == NAIVE_QUANTIZED
        files[kind] = contenders.convert(module, quantized=quantized, per_channel=not quantized)
        done("conversion")
    paths = {}
    for name, content in files.items():
        paths[name] = str(folder / f"{count}-{name.replace(' ', '-')}.tflite")
        Path(paths[name]).write_bytes(content)
    return {"files": paths, "seconds": seconds, "peak_bytes": apart.peak_bytes()}


if __name__ == "__main__":
    print(json.dumps(write(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))))
