"""The export of a model with named features: check, conversion, recipe, parity, publication."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from export import conversion, metadata, publishing, quantization, report, selection, serving
from export.features import card, compatibility, gate, model, parity, rows
from export.features.serving import SIGNATURE, FeatureModule
from export.gate import Breach
from export.quantization import Recipe
from export.runtime import Runtime

FORMAT_VERSION = 1
GOLDEN_ROWS = 50
LATENCY_ROWS = 1000
REPEATS = 30

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What an export was asked for; the attributes are the CLI's options.

    Attributes:
        model: the SavedModel folder, or the `.keras` or HDF5 file.
        features: Parquet or CSV rows to measure on; made ones where None.
        group: the column of `features` whose equal values are ranked together.
    """

    output_dir: Path
    recipes: tuple[Recipe, ...]
    wanted: selection.Wanted
    model: Path
    features: Path | None
    group: str | None
    runtimes: tuple[Runtime, ...]


@dataclass(frozen=True)
class Attempt:
    """One recipe's file and what was measured of it; latency is of `score` with 1,000 rows."""

    content: bytes = field(repr=False)
    parity: parity.Parity
    breaches: tuple[Breach, ...]
    latency_ms: float

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.parity.recipe

    @property
    def ndcg(self) -> float:
        """The worst NDCG@10 of an output on a runtime."""
        outputs = (output for runtime in self.parity.runtimes for output in runtime.outputs)
        return min(o.agreement.ndcg if o.agreement is not None else 0.0 for o in outputs)


@dataclass(frozen=True)
class Result:
    """What an export measured: as `export.pipeline.Result`."""

    attempts: tuple[Attempt, ...]
    chosen: Attempt | None
    float32_bytes: int


def is_general(path: Path) -> bool:
    """Whether a model is to go this way: it can be loaded, and isn't the tutorial's ranker."""
    if path.suffix in model.KERAS_FILES and path.is_file():
        return True
    try:
        keras = serving.load(path)
    except serving.ModelError:
        return False  # For the tutorial's way to complain of.
    if not isinstance(keras, tf.keras.Model):
        return True  # Saved without Keras.
    try:
        serving.ranker_of(keras)
    except serving.OtherPartsError:
        return True
    except serving.ModelError:
        return False
    return not _takes_only_ids(path, keras)


def _takes_only_ids(path: Path, keras: tf.keras.Model) -> bool:
    """Whether scores depend on the two ids alone, where the model has the tutorial's parts."""
    ids = {serving.USER, serving.CANDIDATE}
    arguments, _ = keras.save_spec() or ((), {})
    given = set(arguments[0]) if arguments and isinstance(arguments[0], Mapping) else set()
    return given <= ids or {feature.name for feature in model.load(path).features} <= ids


def run(request: Request, progress: Progress = lambda message: None) -> Result:
    """Exports a model, and publishes it if the gate lets it pass.

    Args:
        request: what to do.
        progress: told each stage as it begins.

    Raises:
        PublishingError, ModelError, FeaturesError, ConversionError, RuntimeFailure: see there.
    """
    publishing.prepare(request.output_dir)
    progress(f"loading {request.model}")
    trained = model.load(request.model)
    progress("looking for what has no TFLite builtin")
    compatibility.check(trained)
    if request.features is None:
        taken = rows.made(trained)
    else:
        progress(f"reading {request.features}")
        taken = rows.read(trained, request.features, request.group)
    progress("converting")
    float_model = conversion.to_float32(FeatureModule(trained))
    progress(f"scoring with Keras: {taken.source}")
    expected = parity.reference(trained, taken)
    attempts = tuple(
        _attempt(recipe, float_model, trained, expected, request.runtimes, progress)
        for recipe in request.recipes
    )
    chosen = selection.choose(attempts, request.wanted)
    result = Result(attempts, chosen, len(float_model))
    if chosen is not None:
        progress("publishing")
        publishing.publish(request.output_dir, _files(request, trained, expected, result, chosen))
    return result


def _attempt(
    recipe: Recipe,
    float_model: bytes,
    trained: model.FeatureModel,
    expected: parity.Reference,
    runtimes: tuple[Runtime, ...],
    progress: Progress,
) -> Attempt:
    """Applies one recipe and measures what came of it."""
    progress(f"applying the recipe {recipe.name}")
    content = metadata.add(quantization.apply(recipe, float_model), _metadata(recipe, trained))
    measured = parity.measure(
        recipe.name,
        content,
        float_model,
        trained,
        expected,
        runtimes,
        lambda name: progress(f"proving parity of {recipe.name} on {name}"),
    )
    names = tuple(sorted(f.name for f in trained.features)), tuple(sorted(trained.outputs))
    return Attempt(
        content,
        measured,
        gate.check(measured, names),
        _latency(content, expected, runtimes[-1]),
    )


def _latency(content: bytes, expected: parity.Reference, runtime: Runtime) -> float:
    """Median time of `score` with 1,000 rows on one thread, milliseconds."""
    inputs = {
        name: np.resize(values, (LATENCY_ROWS, *values.shape[1:]))
        for name, values in expected.rows.values.items()
    }
    with runtime.open(content) as session:
        return float(np.median(session.times(SIGNATURE, REPEATS, **inputs)) * 1e3)


def _metadata(recipe: Recipe, trained: model.FeatureModel) -> dict[str, Any]:
    return {
        "name": trained.name,
        "version": "1.0.0",
        "license": "",
        "description": "Scores rows of named features; higher ranks first.",
        "recipe": recipe.name,
        "signatures": {
            SIGNATURE: {
                "inputs": [feature.name for feature in trained.features],
                "outputs": list(trained.outputs),
            }
        },
        "features": _features(trained),
        "versions": metadata.versions(),
    }


def _features(trained: model.FeatureModel) -> dict[str, Any]:
    """Each feature's type and shape; null stands for a dimension of any size."""
    return {
        feature.name: {"dtype": feature.dtype.name, "shape": list(feature.shape)}
        for feature in trained.features
    }


def _files(
    request: Request,
    trained: model.FeatureModel,
    expected: parity.Reference,
    result: Result,
    chosen: Attempt,
) -> dict[str, bytes]:
    """All that is published, the model last."""
    known = {feature.name: rows.known(trained, feature).ids for feature in trained.features}
    vocabulary = {name: _mapped(_text, list(ids)) for name, ids in known.items() if ids}
    page = card.render(
        trained,
        chosen.parity,
        expected.rows.source,
        len(expected.rows.odd_names),
        result.float32_bytes,
    )
    return {
        "vocabulary.json": report.dump(vocabulary),
        "golden.json": report.dump(_golden(chosen, expected, request.runtimes[-1])),
        "model_card.md": page,
        "parity.json": report.dump(_measured(trained, expected, result, chosen)),
        "ranker.tflite": chosen.content,
    }


def _measured(
    trained: model.FeatureModel, expected: parity.Reference, result: Result, chosen: Attempt
) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "recipe": chosen.recipe,
        "model": trained.name,
        "features": _features(trained),
        "unused_inputs": trained.unused,
        "outputs": list(trained.outputs),
        "rows": {
            "source": expected.rows.source,
            "count": expected.rows.size,
            "odd": expected.rows.odd_names,
        },
        "file": {**asdict(chosen.parity.file), "float32_bytes": result.float32_bytes},
        "runtimes": [asdict(runtime) for runtime in chosen.parity.runtimes],
        "runtimes_apart": chosen.parity.runtimes_apart,
        "limits": {**asdict(gate.LIMITS[chosen.recipe]), "rounding": gate.ROUNDING},
        "frontier": [
            {
                "recipe": attempt.recipe,
                "bytes": len(attempt.content),
                "score_1000_ms": attempt.latency_ms,
                "ndcg_at_10": attempt.ndcg,
                "breaches": [str(breach) for breach in attempt.breaches],
            }
            for attempt in result.attempts
        ],
        "versions": metadata.versions(),
    }


def _golden(chosen: Attempt, expected: parity.Reference, runtime: Runtime) -> dict[str, Any]:
    """Rows with both scores, inputs and outputs by name, for other languages to check against."""
    some = np.unique(np.linspace(0, expected.rows.size - 1, GOLDEN_ROWS).astype(int))
    inputs = {
        name: np.concatenate([values[some], expected.rows.odd[name]])
        for name, values in expected.rows.values.items()
    }
    keras = {
        name: np.concatenate([values[some], expected.odd[name]])
        for name, values in expected.scores.items()
    }
    with runtime.open(chosen.content) as session:
        tflite = parity.run(session, inputs, keras)
    return {
        "format_version": FORMAT_VERSION,
        "model_sha256": chosen.parity.file.sha256,
        "recipe": chosen.recipe,
        SIGNATURE: {
            "inputs": {name: _mapped(_text, values.tolist()) for name, values in inputs.items()},
            "inputs_hex": {
                name: _mapped(bytes.hex, values.tolist())
                for name, values in inputs.items()
                if values.dtype == object
            },
            "keras": {name: values.tolist() for name, values in keras.items()},
            "tflite": {name: values.tolist() for name, values in tflite.items()},
        },
    }


def _mapped(change: Callable[[Any], Any], value: Any) -> Any:
    """A value changed, or each of a list's, of lists too."""
    return [_mapped(change, one) for one in value] if isinstance(value, list) else change(value)


def _text(value: Any) -> Any:
    """Bytes as text; the hex form beside it is exact where they are no UTF-8."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value
