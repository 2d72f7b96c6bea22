"""The files that are compared: the tutorial's own conversions, a stock quantizer's, and ours."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from ai_edge_quantizer import quantizer
from ai_edge_quantizer import recipe as stock

from benchmarks.alone import ScoreAlone
from export import conversion, metadata, pipeline, quantization, report, serving, stable_units

NAIVE = "naive float32"
NAIVE_QUANTIZED = "naive Optimize.DEFAULT"
STOCK = "ai-edge-quantizer dynamic"
# The default recipe, with the hidden units that scores don't need.
ALL_UNITS = f"{quantization.DEFAULT_RECIPE}, all units"
SCORE_ALONE = f"{quantization.DEFAULT_RECIPE}, score alone"
# These have one signature, `score`.
SINGLE = (NAIVE, NAIVE_QUANTIZED, STOCK, SCORE_ALONE)


@dataclass(frozen=True)
class Contender:
    """A file: its name and where it lies."""

    name: str
    path: Path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size

    @property
    def has_rank(self) -> bool:
        """Whether it has all three signatures."""
        return self.name not in SINGLE


class NaiveModule(tf.Module):
    """What the tutorial's reader writes: the Keras model in one function."""

    def __init__(self, keras: tf.keras.Model) -> None:
        super().__init__()
        self._keras = keras

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, serving.USER),
            tf.TensorSpec([None], tf.string, serving.CANDIDATE),
        ]
    )
    def score(self, user_id: tf.Tensor, movie_title: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores pairs."""
        features = {serving.USER: user_id, serving.CANDIDATE: movie_title}
        return {serving.SCORE: self._keras(features)}


def convert(module: tf.Module, *, quantized: bool = False, per_channel: bool = True) -> bytes:
    """Converts a module's `score`, with the converter's defaults.

    Args:
        module: has a tf.function `score`.
        quantized: by `Optimize.DEFAULT`.
        per_channel: quantize dense layers so, as the converter does unless told not to.
    """
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={"score": module.score})
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=["score"])
        if quantized:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if not per_channel:
            converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        model: bytes = converter.convert()
    return model


def stock_dynamic(float_model: bytes) -> bytes:
    """The stock dynamic int8 recipe of ai-edge-quantizer."""
    result = quantizer.Quantizer(float_model, stock.dynamic_wi8_afp32()).quantize()
    return bytes(result.quantized_model)


def make(keras: tf.keras.Model, folder: Path) -> list[Contender]:
    """Writes every file into a folder.

    Args:
        keras: the trained model.
        folder: where to; the files stay there.
    """
    naive = convert(NaiveModule(keras))
    files = {
        NAIVE: naive,
        NAIVE_QUANTIZED: convert(NaiveModule(keras), quantized=True),
        STOCK: stock_dynamic(naive),
    }
    ranker = serving.ranker_of(keras)
    needed = stable_units.simplify(ranker).ranker
    ours = conversion.of_ranker(needed)
    default = quantization.RECIPES[quantization.DEFAULT_RECIPE]
    made = {name: (recipe, ours) for name, recipe in quantization.RECIPES.items()}
    made[ALL_UNITS] = default, conversion.of_ranker(ranker)
    made[SCORE_ALONE] = default, conversion.to_float32(ScoreAlone(needed))
    for name, (recipe, model) in made.items():
        described = _metadata(recipe.name, ranker)
        files[name] = metadata.add(quantization.apply(recipe, model), described)
    contenders = []
    for number, (name, content) in enumerate(files.items()):
        path = folder / f"{number}.tflite"
        path.write_bytes(content)
        contenders.append(Contender(name, path))
    return contenders


def _metadata(recipe: str, ranker: serving.Ranker) -> dict[str, Any]:
    """As much as an export writes, since its bytes count."""
    return {
        "name": report.TITLE,
        "version": pipeline.VERSION,
        "license": pipeline.LICENSE,
        "description": "Scores (user, movie) pairs from plain string ids; higher ranks first.",
        "recipe": recipe,
        "signatures": serving.SIGNATURES,
        "vocabulary_sizes": {
            serving.USER: len(ranker.users.vocabulary),
            serving.CANDIDATE: len(ranker.candidates.vocabulary),
        },
        "training": {"ratings_checksum": "0" * 64, "ratings_source": "x" * 40, "seed": 42},
    }
