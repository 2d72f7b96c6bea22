"""The report page: one HTML file that needs no network, beside the `.tflite`."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jinja2
import markupsafe
import numpy as np

from export import charts, flatbuffer, gate, quantization
from export.cold_start import ColdStart
from export.gate import Limits
from export.parity import Parity, RuntimeParity
from export.reference import Reference
from export.report import Origin
from export.samples import Samples
from export.selection import Attempt
from export.stable_units import Simplified

TEMPLATE = "report.html"
# The order in which the bar stacks them; whatever else there is comes last.
ROLES = {
    "vocabulary": "vocabularies",
    "embedding table": "embedding tables",
    "dense": "dense layers",
}
REST = "graphs, metadata and the rest"


@dataclass(frozen=True)
class GateRow:
    """One figure on each runtime, and its limit, all as text."""

    figure: str
    values: tuple[str, ...]
    limit: str


@dataclass(frozen=True)
class OddRow:
    """One odd pair: what it is, both scores, and their distance."""

    name: str
    keras: float
    tflite: float
    error: float


def environment() -> jinja2.Environment:
    """The templates; a name missing in one is an error, not an empty place."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("export"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(
    parity: Parity,
    reference: Reference,
    samples: Samples,
    simplified: Simplified,
    origin: Origin,
    model: bytes,
    float32_bytes: int,
    attempts: tuple[Attempt, ...] = (),
    cold_start: tuple[ColdStart, ...] = (),
) -> bytes:
    """The page, as UTF-8.

    Args:
        parity: everything measured of the file.
        reference: Keras's scores.
        samples: the file's single scores, users and times.
        simplified: the trained parts, and what became of the hidden units.
        origin: what it was made from.
        model: the file's bytes.
        float32_bytes: size of the float32 file.
        attempts: every recipe tried, where there were several.
        cold_start: how out-of-vocabulary policies did for new ids, where measured.
    """
    limits = gate.limits_of(parity)
    points = [(a.parity.recipe, a.parity.file.bytes, a.latency_ms, a.ndcg) for a in attempts]
    tensors = flatbuffer.tensor_sizes(flatbuffer.read(model))
    page = environment().get_template(TEMPLATE)
    return page.render(
        title=origin.title,
        parity=parity,
        recipe_summary=quantization.RECIPES[parity.recipe].summary,
        limits=limits,
        samples=samples,
        tiles=list(_tiles(parity, float32_bytes)),
        facts=list(_facts(parity, reference, origin, simplified)),
        gate_rows=list(gate_rows(parity, limits)),
        tensors=tensors,
        odd_rows=list(_odd_rows(reference, samples)),
        origin=origin,
        cold_start=cold_start,
        untrained=origin.oov_untrained,
        signatures=sorted({use.signature for use in parity.file.ops}),
        op_rows=list(_op_rows(parity)),
        machine=f"{platform.system()} on {platform.machine()}",
        frontier=charts.frontier(points) if len(points) > 1 else None,
        charts=_charts(reference, samples, tensors, len(model), float32_bytes, limits),
    ).encode()


def sizes_by_role(tensors: tuple[flatbuffer.TensorSize, ...], file_bytes: int) -> dict[str, int]:
    """Bytes of each role; they add up to the file's, since the rest has its own."""
    roles = {
        label: sum(tensor.bytes for tensor in tensors if tensor.role == role)
        for role, label in ROLES.items()
    }
    return {**roles, REST: file_bytes - sum(roles.values())}


def _charts(
    reference: Reference,
    samples: Samples,
    tensors: tuple[flatbuffer.TensorSize, ...],
    file_bytes: int,
    float32_bytes: int,
    limits: Limits,
) -> dict[str, markupsafe.Markup]:
    keras = reference.test.scores
    test = samples.test.astype(np.float64) - keras
    catalogue = samples.catalogue_errors.astype(np.float64)
    drawn = {
        "sizes": charts.sizes(sizes_by_role(tensors, file_bytes), file_bytes, float32_bytes),
        "errors": charts.errors(test, catalogue, limits.max_abs),
        "scatter": charts.scatter(keras, samples.test),
        "agreement": charts.agreement(samples.kendall_tau, samples.ndcg),
        "latency": charts.latency(samples.latencies),
    }
    # Drawn here from numbers and fixed words: nothing in them came from outside.
    return {name: markupsafe.Markup(svg) for name, svg in drawn.items()}


def _tiles(parity: Parity, float32_bytes: int) -> Iterator[tuple[str, str]]:
    runtimes = parity.runtimes
    worst = max(max(r.test.max_abs, r.catalogue.max_abs, r.odd_ids.max_abs) for r in runtimes)
    ndcg = min(r.catalogue_agreement.ndcg for r in runtimes)
    tau = min(r.catalogue_agreement.kendall_tau for r in runtimes)
    yield f"{parity.file.bytes / 1000:,.1f} kB", "the file"
    yield f"{parity.file.bytes / float32_bytes:.1%}", "of the float32 file"
    yield f"{worst:.1e}", "largest error, rating points"
    yield f"{max(r.rmse_delta for r in runtimes):.1e}", "change of the test RMSE"
    yield f"{ndcg:.6f}", "NDCG@10 over the catalogue"
    yield f"{tau:.4f}", "Kendall tau over the catalogue"


def _facts(
    parity: Parity, reference: Reference, origin: Origin, simplified: Simplified
) -> Iterator[tuple[str, str]]:
    epochs = "" if origin.epochs is None else f", {origin.epochs} epochs"
    yield "Model", f"two embeddings and three dense layers, {origin.model}{epochs}"
    yield "Ratings", origin.ratings_source
    yield "Trained by", f"the preset {origin.preset}" if origin.epochs else "somebody else"
    yield "Known users", origin.users
    yield "Known titles", origin.items
    yield "Unknown ids score by", f"the policy {origin.oov}"
    yield "Ratings, SHA-256", origin.ratings_checksum
    yield "Seed", str(origin.seed)
    yield (
        "Tested on",
        f"{len(reference.ratings):,} ratings of {len(reference.users):,} users, and all "
        f"{len(reference.catalogue):,} titles for each of them",
    )
    yield "Test RMSE, Keras", f"{parity.runtimes[0].rmse_keras:.4f}"
    yield (
        "Numbers",
        f"{simplified.trained_parameters:,} trained, {parity.file.needed_parameters:,} in the file",
    )
    yield "Hidden units", str(simplified)
    yield "Versions", ", ".join(f"{name} {version}" for name, version in origin.versions.items())
    yield "File, SHA-256", parity.file.sha256


def gate_rows(parity: Parity, limits: Limits) -> Iterator[GateRow]:
    """The figures that the gate looks at, with their limits."""

    def row(figure: str, attribute: str, limit: float, sign: str) -> GateRow:
        numbers = tuple(_figure(runtime, attribute) for runtime in parity.runtimes)
        shape = "{:.6f}" if sign == "≥" else "{:.1e}"
        return GateRow(figure, tuple(map(shape.format, numbers)), f"{sign} {limit:g}")

    yield row("largest error, test ratings", "test.max_abs", limits.max_abs, "≤")
    yield row("largest error, catalogue", "catalogue.max_abs", limits.max_abs, "≤")
    yield row("largest error, odd ids", "odd_ids.max_abs", limits.max_abs, "≤")
    yield row("largest error, without XNNPACK", "plain_kernels.max_abs", limits.max_abs, "≤")
    yield row("largest error, rank", "rank.max_abs", limits.max_abs, "≤")
    yield GateRow(
        "places wrong in rank and recommend",
        tuple(str(runtime.misplaced) for runtime in parity.runtimes),
        "0",
    )
    yield row("mean error, catalogue", "catalogue.mean_abs", limits.mean_abs, "≤")
    yield row("one at a time against batches", "singles.max_abs", limits.singles, "≤")
    yield row("change of the test RMSE", "rmse_delta", limits.rmse_delta, "≤")
    for kind, where in (("test", "test candidates"), ("catalogue", "catalogue")):
        name = f"{kind}_agreement"
        yield row(f"Kendall tau, {where}", f"{name}.kendall_tau", limits.kendall_tau, "≥")
        yield row(f"NDCG@10, {where}", f"{name}.ndcg", limits.ndcg, "≥")
    overlap = "catalogue_agreement.top_overlap"
    yield row("overlap of the top 10, catalogue", overlap, limits.top_overlap, "≥")
    # Figures of the file and of all runtimes: the same in every column.
    columns = len(parity.runtimes)
    apart = f"{parity.runtimes_apart:.1e}"
    limit = f"≤ {limits.runtimes_apart:g}"
    yield GateRow("two runtimes' largest difference", (apart,) * columns, limit)
    wrong = sum(parity.file.misrounded.values())
    yield GateRow("stored numbers other than trained", (str(wrong),) * columns, "0")


def _figure(runtime: RuntimeParity, path: str) -> float:
    value: Any = runtime
    for attribute in path.split("."):
        value = getattr(value, attribute)
    return float(value)


def _odd_rows(reference: Reference, samples: Samples) -> Iterator[OddRow]:
    scores = zip(reference.odd_names, reference.odd.scores, samples.odd, strict=True)
    for name, keras, tflite in scores:
        yield OddRow(name, float(keras), float(tflite), abs(float(tflite) - float(keras)))


def _op_rows(parity: Parity) -> Iterator[tuple[str, list[int]]]:
    signatures = sorted({use.signature for use in parity.file.ops})
    counts = {(use.signature, use.op, use.version): use.count for use in parity.file.ops}
    for op, version in sorted({(use.op, use.version) for use in parity.file.ops}):
        yield f"{op} {version}", [counts.get((name, op, version), 0) for name in signatures]
