"""Reports: `parity.json`, and the closing table on the terminal."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from rich import box
from rich.table import Table

from export import gate, selection
from export.cold_start import ColdStart
from export.parity import Parity

FORMAT_VERSION = 1
TITLE = "MovieLens 100k ranker"


@dataclass(frozen=True)
class Origin:
    """What a file was made from.

    Attributes:
        model: `trained here` or the SavedModel's folder name.
        ratings_source: where the ratings came from.
        ratings_checksum: SHA-256 of the ratings.
        seed: of the split, and of training where it was trained here.
        epochs: of training here; None for a given model.
        versions: of TensorFlow and of the exporter.
        is_movielens: whether the ratings are MovieLens 100k.
        preset: how it was trained.
        oov: the out-of-vocabulary policy.
        users: which users the file knows.
        items: which candidates it knows.
        units: whether the file holds the hidden units that are needed, or all.
    """

    model: str
    ratings_source: str
    ratings_checksum: str
    seed: int
    epochs: int | None
    versions: dict[str, str]
    is_movielens: bool = True
    preset: str = "tutorial"
    oov: str = "trained"
    users: str = "all"
    items: str = "all"
    units: str = "needed"

    def told(self) -> dict[str, Any]:
        """What differs from the usual, for the file itself, where each byte counts."""
        usual = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @property
    def oov_untrained(self) -> bool:
        """Whether unknown ids score by a row that no training pair has met."""
        return self.oov == "trained" and self.is_movielens

    @property
    def title(self) -> str:
        """What the report and the file's metadata are headed with."""
        return TITLE if self.is_movielens else "Ranker"


def parity_json(parity: Parity, float32_bytes: int, origin: Origin) -> dict[str, Any]:
    """Everything measured, ready for JSON."""
    limits = gate.limits_of(parity)
    return {
        "format_version": FORMAT_VERSION,
        "recipe": parity.recipe,
        "file": {
            "bytes": parity.file.bytes,
            "sha256": parity.file.sha256,
            "float32_bytes": float32_bytes,
            "ratio_to_float32": parity.file.bytes / float32_bytes,
            "parameters": parity.file.parameters,
            "needed_parameters": parity.file.needed_parameters,
            "lookups": parity.file.lookups,
            "custom_ops": parity.file.custom_ops,
            "widened_tables": parity.file.widened_tables,
            "misrounded": parity.file.misrounded,
            "ops": [asdict(use) for use in parity.file.ops],
        },
        "origin": asdict(origin),
        "runtimes": [
            {**asdict(runtime), "rmse_delta": runtime.rmse_delta} for runtime in parity.runtimes
        ],
        "runtimes_apart": parity.runtimes_apart,
        # Another runtime may differ from the golden cases by what two runtimes may differ here.
        "golden_tolerance": {"score": limits.runtimes_apart},
        "limits": asdict(limits),
    }


def dump(content: Any) -> bytes:
    """JSON as UTF-8, for people too."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def table(parity: Parity, float32_bytes: int) -> Table:
    """The closing table: a row for each runtime."""
    ratio = parity.file.bytes / float32_bytes
    keras = f", Keras's RMSE {parity.runtimes[0].rmse_keras:.4f}" if parity.runtimes else ""
    result = Table(
        title=f"{parity.recipe}: {parity.file.bytes:,} bytes, {ratio:.3f} of float32's "
        f"{float32_bytes:,}{keras}",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    result.add_column("runtime", no_wrap=True)
    for heading in ("max", "mean", "RMSE", "tau", "NDCG@10", "top 10"):
        result.add_column(heading, justify="right", no_wrap=True)
    for runtime in parity.runtimes:
        catalogue = runtime.catalogue_agreement
        result.add_row(
            f"{runtime.runtime} {runtime.version}",
            f"{max(runtime.test.max_abs, runtime.catalogue.max_abs):.1e}",
            f"{runtime.catalogue.mean_abs:.1e}",
            f"{runtime.rmse:.5f}",
            f"{catalogue.kendall_tau:.4f}",
            f"{catalogue.ndcg:.5f}",
            f"{catalogue.top_overlap:.3f}",
        )
    return result


def frontier_table(
    attempts: tuple[selection.Attempt, ...], chosen: selection.Attempt | None
) -> Table:
    """Size, latency and agreement of every recipe tried."""
    result = Table(title="recipes", box=box.SIMPLE_HEAD)
    result.add_column("recipe", no_wrap=True)
    for heading in ("bytes", f"rank {selection.CANDIDATES:,}, ms", "NDCG@10", "gate"):
        result.add_column(heading, justify="right")
    for attempt in sorted(attempts, key=lambda attempt: attempt.parity.file.bytes):
        mark = " *" if attempt is chosen else ""
        result.add_row(
            attempt.parity.recipe + mark,
            f"{attempt.parity.file.bytes:,}",
            f"{attempt.latency_ms:.2f}",
            f"{attempt.ndcg:.5f}",
            "broken" if attempt.breaches else "kept",
        )
    return result


def cold_start_table(figures: tuple[ColdStart, ...]) -> Table:
    """Out-of-vocabulary policies on the test ratings of ids held out of the vocabulary."""
    result = Table(title="unknown ids, by policy", box=box.SIMPLE_HEAD)
    for heading in ("policy", "ratings of"):
        result.add_column(heading, no_wrap=True)
    for heading in ("number", "RMSE", "NDCG@10"):
        result.add_column(heading, justify="right")
    for one in figures:
        result.add_row(
            one.policy, one.group, f"{one.ratings:,}", f"{one.rmse:.4f}", f"{one.ndcg:.4f}"
        )
    return result
