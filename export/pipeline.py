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
    html_report,
    metadata,
    model_card,
    parity,
    publishing,
    quantization,
    reference,
    report,
    samples,
    selection,
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
    """What an export was asked for; the attributes are the CLI's options.

    Attributes:
        recipes: which to try; of several, the smallest file within `wanted` is published.
    """

    output_dir: Path
    recipes: tuple[Recipe, ...]
    wanted: selection.Wanted
    saved_model: Path | None
    ratings: str
    data_dir: Path | None
    epochs: int
    seed: int
    runtimes: tuple[Runtime, ...]


@dataclass(frozen=True)
class Result:
    """What an export measured.

    Attributes:
        attempts: one for each recipe tried.
        chosen: the one published; None where none may be.
        float32_bytes: size of the converter's own float32 file.
    """

    attempts: tuple[selection.Attempt, ...]
    chosen: selection.Attempt | None
    float32_bytes: int


@dataclass(frozen=True)
class _Prepared:
    """All that recipes have in common."""

    ranker: serving.Ranker
    float_model: bytes
    expected: reference.Reference
    origin: report.Origin
    metrics: dict[str, Any]


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
    prepared = _prepare(request, progress)
    attempts = tuple(_attempt(prepared, r, request.runtimes, progress) for r in request.recipes)
    chosen = selection.choose(attempts, request.wanted)
    result = Result(attempts, chosen, len(prepared.float_model))
    if chosen is not None:
        _publish(request, prepared, result, chosen, progress)
    return result


def _prepare(request: Request, progress: Progress) -> _Prepared:
    model, ratings, origin, metrics = _trained(request, progress)
    ranker = serving.ranker_of(model)
    progress("converting")
    float_model = conversion.of_ranker(ranker)
    progress("scoring the test ratings and the catalogue with Keras")
    test = data.columns(data.split(ratings, request.seed).test)
    expected = reference.measure(model, ranker, test)
    return _Prepared(ranker, float_model, expected, origin, metrics)


def _attempt(
    prepared: _Prepared, recipe: Recipe, runtimes: tuple[Runtime, ...], progress: Progress
) -> selection.Attempt:
    """Applies one recipe and measures what came of it."""
    progress(f"applying the recipe {recipe.name}")
    content = metadata.add(
        quantization.apply(recipe, prepared.float_model),
        _metadata(recipe, prepared.ranker, prepared.origin, prepared.metrics),
    )
    measured = parity.measure(
        recipe.name,
        content,
        prepared.ranker,
        prepared.expected,
        runtimes,
        lambda name: progress(f"proving parity of {recipe.name} on {name}"),
    )
    latency = selection.latency(content, prepared.expected, runtimes[-1])
    return selection.Attempt(content, measured, gate.check(measured), latency)


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
    prepared: _Prepared,
    result: Result,
    chosen: selection.Attempt,
    progress: Progress,
) -> None:
    with request.runtimes[-1].open(chosen.content) as session:
        cases = {
            "format_version": golden.FORMAT_VERSION,
            "model_sha256": chosen.parity.file.sha256,
            "recipe": chosen.parity.recipe,
            **golden.cases(session, prepared.expected),
        }
    vocabulary = {
        serving.USER: prepared.ranker.users.vocabulary,
        serving.CANDIDATE: prepared.ranker.candidates.vocabulary,
    }
    progress("drawing the report")
    taken = samples.take(chosen.content, prepared.expected, request.runtimes)
    page = html_report.render(
        chosen.parity,
        prepared.expected,
        taken,
        prepared.origin,
        chosen.content,
        result.float32_bytes,
        result.attempts,
    )
    card = model_card.render(
        chosen.parity, prepared.expected, prepared.ranker, prepared.origin, result.float32_bytes
    )
    measured = report.parity_json(chosen.parity, result.float32_bytes, prepared.origin)
    measured["frontier"] = [selection.figures(attempt) for attempt in result.attempts]
    progress("publishing")
    publishing.publish(
        request.output_dir,
        {
            "vocabulary.json": report.dump(vocabulary),
            "golden.json": report.dump(cases),
            "report.html": page,
            "model_card.md": card,
            "parity.json": report.dump(measured),
            "ranker.tflite": chosen.content,
        },
    )
