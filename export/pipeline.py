"""The pipeline: model, serving, conversion, recipe, parity, gate, publication, in that order."""

import importlib.metadata
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from export import (
    conversion,
    gate,
    golden,
    metadata,
    parity,
    publishing,
    quantization,
    reference,
    report,
    serving,
)
from export.quantization import Recipe
from export.runtime import Runtime
from model import data, train

NAME = "MovieLens 100k ranker"
VERSION = "1.0.0"
LICENSE = "Apache-2.0"


@dataclass(frozen=True)
class Request:
    """What an export was asked for; the attributes are the CLI's options."""

    output_dir: Path
    recipe: Recipe
    saved_model: Path | None
    ratings: str
    data_dir: Path | None
    epochs: int
    seed: int
    runtimes: tuple[Runtime, ...]


@dataclass(frozen=True)
class Result:
    """What an export measured. `breaches` is empty where the file was published."""

    parity: parity.Parity
    float32_bytes: int
    breaches: tuple[gate.Breach, ...]


Progress = Callable[[str], None]


def run(request: Request, progress: Progress = lambda message: None) -> Result:
    """Exports a model, and publishes it if the gate lets it pass.

    Args:
        request: what to do.
        progress: told each stage as it begins.

    Raises:
        PublishingError, RatingsError, ModelError, ConversionError, RuntimeFailure: see there.
    """
    publishing.prepare(request.output_dir)
    model, ratings, origin, metrics = _trained(request, progress)
    ranker = serving.ranker_of(model)
    progress("converting")
    float_model = conversion.to_float32(serving.ServingModule(ranker))
    progress(f"applying the recipe {request.recipe.name}")
    content = metadata.add(
        quantization.apply(request.recipe, float_model),
        _metadata(request.recipe, ranker, origin, metrics),
    )
    progress("scoring the test ratings and the catalogue with Keras")
    test = data.columns(data.split(ratings, request.seed).test)
    expected = reference.measure(model, ranker, test)
    measured = parity.measure(
        request.recipe.name,
        content,
        ranker,
        expected,
        request.runtimes,
        lambda name: progress(f"proving parity on {name}"),
    )
    breaches = gate.check(measured)
    if not breaches:
        progress("publishing")
        _publish(request, content, ranker, expected, measured, len(float_model), origin)
    return Result(measured, len(float_model), breaches)


def _trained(
    request: Request, progress: Progress
) -> tuple[tf.keras.Model, data.Ratings, report.Origin, dict[str, Any]]:
    given = None
    if request.saved_model is not None:
        progress(f"loading {request.saved_model}")
        # Before the ratings: a wrong path should not cost a minute.
        given = serving.load(request.saved_model)
        serving.ranker_of(given)
    progress("reading MovieLens 100k")
    ratings = data.load(request.ratings, request.data_dir, progress)
    metrics: dict[str, Any] = {}
    model = given
    if model is None:
        progress("training")
        model, training = train.train(
            ratings,
            request.epochs,
            request.seed,
            lambda epoch, rmse: progress(f"training: epoch {epoch}, RMSE {rmse:.4f}"),
        )
        metrics = {"test_rmse": training.test_rmse}
    origin = report.Origin(
        model="trained here"
        if given is None
        else str(request.saved_model and request.saved_model.name),
        ratings_source=str(ratings.source),
        ratings_checksum=ratings.checksum,
        seed=request.seed,
        epochs=request.epochs if given is None else None,
        versions={
            "tensorflow": tf.__version__,
            "ranking-exporter": importlib.metadata.version("ranking-exporter"),
        },
    )
    return model, ratings, origin, metrics


def _metadata(
    recipe: Recipe, ranker: serving.Ranker, origin: report.Origin, metrics: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": NAME,
        "version": VERSION,
        "license": LICENSE,
        "description": "Scores (user, movie) pairs from plain string ids; higher ranks first.",
        "recipe": recipe.name,
        "signatures": serving.SIGNATURES,
        "vocabulary_sizes": {
            serving.USER: len(ranker.users.vocabulary),
            serving.CANDIDATE: len(ranker.candidates.vocabulary),
        },
        "training": asdict(origin),
        "metrics": metrics,
    }


def _publish(
    request: Request,
    content: bytes,
    ranker: serving.Ranker,
    expected: reference.Reference,
    measured: parity.Parity,
    float32_bytes: int,
    origin: report.Origin,
) -> None:
    with request.runtimes[-1].open(content) as session:
        cases = {
            "format_version": golden.FORMAT_VERSION,
            "model_sha256": measured.file.sha256,
            "recipe": request.recipe.name,
            **golden.cases(session, expected),
        }
    vocabulary = {
        serving.USER: ranker.users.vocabulary,
        serving.CANDIDATE: ranker.candidates.vocabulary,
    }
    publishing.publish(
        request.output_dir,
        {
            "vocabulary.json": report.dump(vocabulary),
            "golden.json": report.dump(cases),
            "parity.json": report.dump(report.parity_json(measured, float32_bytes, origin)),
            "ranker.tflite": content,
        },
    )
