"""The pipeline: model, serving, conversion, recipe, parity, gate, publication, in that order."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from export import (
    cold_start,
    conversion,
    cuts,
    gate,
    golden,
    html_report,
    metadata,
    model_card,
    oov,
    parity,
    publishing,
    quantization,
    reference,
    report,
    samples,
    selection,
    serving,
    stable_units,
)
from export.quantization import Recipe
from export.runtime import Runtime
from model import data, presets, train

VERSION = "1.0.0"
LICENSE = "Apache-2.0"
# The tutorial's, all of them; of larger data the first ones, which are as good as any.
MOST_TEST_RATINGS = data.TEST_RATINGS


@dataclass(frozen=True)
class Request:
    """What an export was asked for; the attributes are the CLI's options.

    Attributes:
        recipes: which to try; of several, the smallest file within `wanted` is published.
        epochs: the preset's where None.
        oov: the out-of-vocabulary policy; measured against the others where one is named and the
            model is trained here.
        keep_units: whether units that scores don't need go into the file too.
    """

    output_dir: Path
    recipes: tuple[Recipe, ...]
    wanted: selection.Wanted
    saved_model: Path | None
    ratings: str
    data_dir: Path | None
    epochs: int | None
    seed: int
    runtimes: tuple[Runtime, ...]
    names: data.ColumnNames = data.COLUMNS
    min_count: int = 1
    preset: presets.Preset = presets.PRESETS[presets.TUTORIAL]
    oov: str | None = None
    users: cuts.Cut = cuts.EVERYTHING
    items: cuts.Cut = cuts.EVERYTHING
    keep_units: bool = False


@dataclass(frozen=True)
class Result:
    """What an export measured.

    Attributes:
        attempts: one for each recipe tried.
        chosen: the one published; None where none may be.
        float32_bytes: size of the converter's own float32 file.
        cold_start: how out-of-vocabulary policies did for new ids, where asked for.
    """

    attempts: tuple[selection.Attempt, ...]
    chosen: selection.Attempt | None
    float32_bytes: int
    cold_start: tuple[cold_start.ColdStart, ...]


@dataclass(frozen=True)
class _Prepared:
    """All that recipes have in common."""

    simplified: stable_units.Simplified
    float_model: bytes
    expected: reference.Reference
    origin: report.Origin
    metrics: dict[str, Any]
    cold_start: tuple[cold_start.ColdStart, ...]


@dataclass(frozen=True)
class _Trained:
    """A model, trained here or given, and what it is proven on."""

    model: tf.keras.Model
    ratings: data.Ratings
    training: train.Training | None


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
    result = Result(attempts, chosen, len(prepared.float_model), prepared.cold_start)
    if chosen is not None:
        _publish(request, prepared, result, chosen, progress)
    return result


def _prepare(request: Request, progress: Progress) -> _Prepared:
    trained = _trained(request, progress)
    ratings = trained.ratings
    cold = _cold_start(request, trained, progress)
    counts = (
        _by_id(ratings.user_ids, ratings.user_counts),
        _by_id(ratings.movie_titles, ratings.movie_counts),
    )
    oov.apply(trained.model, request.oov or oov.TRAINED, *counts)
    whole = serving.ranker_of(trained.model)
    ranker = cuts.apply(whole, request.users, request.items, *counts)
    if request.keep_units:
        simplified = stable_units.kept(ranker)
    else:
        progress("looking for hidden units that scores don't need")
        simplified = stable_units.simplify(ranker)
    progress("converting")
    float_model = conversion.of_ranker(simplified.ranker)
    progress("scoring the test ratings and the catalogue with Keras")
    test = data.columns(data.split(ratings, request.seed).test.take(MOST_TEST_RATINGS))
    unit = 1.0
    if not ratings.source.is_movielens:
        unit = float(np.std(test["user_rating"])) / reference.MOVIELENS_SPREAD
        if not unit > 0:
            raise data.RatingsError("all test labels are the same: there is nothing to rank by")
    expected = reference.measure(
        trained.model, ranker, test, reference.dropped(whole, ranker), unit
    )
    metrics = {} if trained.training is None else {"test_rmse": trained.training.test_rmse}
    origin = _origin(request, trained)
    return _Prepared(simplified, float_model, expected, origin, metrics, cold)


def _by_id(ids: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return {one.decode(): int(count) for one, count in zip(ids, counts, strict=True)}


def _cold_start(
    request: Request, trained: _Trained, progress: Progress
) -> tuple[cold_start.ColdStart, ...]:
    if request.oov is None or trained.training is None:
        return ()
    progress("training without a tenth of the users and titles, to compare policies for new ones")
    return cold_start.measure(
        trained.ratings,
        request.seed,
        lambda some: train.train(some, request.epochs, request.seed, preset=request.preset)[0],
    )


def _attempt(
    prepared: _Prepared, recipe: Recipe, runtimes: tuple[Runtime, ...], progress: Progress
) -> selection.Attempt:
    """Applies one recipe and measures what came of it."""
    progress(f"applying the recipe {recipe.name}")
    content = metadata.add(
        quantization.apply(recipe, prepared.float_model),
        _metadata(recipe, prepared.simplified.ranker, prepared.origin, prepared.metrics),
    )
    measured = parity.measure(
        recipe.name,
        content,
        prepared.simplified.ranker,
        prepared.expected,
        runtimes,
        lambda name: progress(f"proving parity of {recipe.name} on {name}"),
    )
    latency = selection.latency(content, prepared.expected, runtimes[-1])
    return selection.Attempt(content, measured, gate.check(measured), latency)


def _trained(request: Request, progress: Progress) -> _Trained:
    given = None
    if request.saved_model is not None:
        progress(f"loading {request.saved_model}")
        # Before the ratings: a wrong path should not cost a minute.
        given = serving.load(request.saved_model)
        serving.ranker_of(given)
    progress("reading the ratings")
    ratings = data.load(
        request.ratings, request.data_dir, progress, request.names, request.min_count
    )
    if given is not None:
        return _Trained(given, ratings, None)
    progress("training")
    model, training = train.train(
        ratings,
        request.epochs,
        request.seed,
        lambda epoch, rmse: progress(f"training: epoch {epoch}, RMSE {rmse:.4f}"),
        preset=request.preset,
        notice=progress,
    )
    return _Trained(model, ratings, training)


def _origin(request: Request, trained: _Trained) -> report.Origin:
    training = trained.training
    return report.Origin(
        model=str(request.saved_model and request.saved_model.name)
        if training is None
        else "trained here",
        ratings_source=str(trained.ratings.source),
        ratings_checksum=trained.ratings.checksum,
        seed=request.seed,
        epochs=None if training is None else training.epochs,
        versions=metadata.versions(),
        is_movielens=trained.ratings.source.is_movielens,
        preset=request.preset.name,
        oov=request.oov or oov.TRAINED,
        users=str(request.users),
        items=str(request.items),
        units="all" if request.keep_units else "needed",
    )


def _metadata(
    recipe: Recipe, ranker: serving.Ranker, origin: report.Origin, metrics: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": origin.title,
        "version": VERSION,
        "license": LICENSE,
        "description": "Scores (user, movie) pairs from plain string ids; higher ranks first.",
        "recipe": recipe.name,
        "signatures": serving.SIGNATURES,
        "vocabulary_sizes": {
            serving.USER: len(ranker.users.vocabulary),
            serving.CANDIDATE: len(ranker.candidates.vocabulary),
        },
        "training": origin.told(),
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
    ranker = prepared.simplified.ranker
    vocabulary = {
        serving.USER: ranker.users.vocabulary,
        serving.CANDIDATE: ranker.candidates.vocabulary,
    }
    progress("drawing the report")
    taken = samples.take(chosen.content, prepared.expected, request.runtimes)
    page = html_report.render(
        chosen.parity,
        prepared.expected,
        taken,
        prepared.simplified,
        prepared.origin,
        chosen.content,
        result.float32_bytes,
        result.attempts,
        prepared.cold_start,
    )
    card = model_card.render(
        chosen.parity,
        prepared.expected,
        prepared.simplified,
        prepared.origin,
        result.float32_bytes,
        prepared.cold_start,
    )
    measured = report.parity_json(chosen.parity, result.float32_bytes, prepared.origin)
    measured["cold_start"] = [asdict(one) for one in prepared.cold_start]
    measured["trained_parameters"] = prepared.simplified.trained_parameters
    measured["hidden_layers"] = [asdict(layer) for layer in prepared.simplified.layers]
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
