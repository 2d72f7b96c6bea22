"""The model card: what the file is, is for, and can't do, in Markdown beside it."""

from export import gate, html_report, quantization
from export.cold_start import ColdStart
from export.parity import Parity
from export.reference import Reference
from export.report import Origin
from export.stable_units import Simplified

TEMPLATE = "model_card.md"


def render(
    parity: Parity,
    reference: Reference,
    simplified: Simplified,
    origin: Origin,
    float32_bytes: int,
    cold_start: tuple[ColdStart, ...] = (),
) -> bytes:
    """The card, as UTF-8.

    Args:
        parity: everything measured of the file.
        reference: Keras's scores.
        simplified: the trained parts, and what became of the hidden units.
        origin: what it was made from.
        float32_bytes: size of the float32 file.
        cold_start: how out-of-vocabulary policies did for new ids, where measured.
    """
    limits = gate.limits_of(parity)
    ranker = simplified.ranker
    card = html_report.environment().get_template(TEMPLATE)
    return card.render(
        title=origin.title,
        parity=parity,
        reference=reference,
        origin=origin,
        users=len(ranker.users.vocabulary),
        candidates=len(ranker.candidates.vocabulary),
        versions=", ".join(f"{name} {version}" for name, version in origin.versions.items()),
        rows=html_report.gate_rows(parity, limits),
        limits=limits,
        summary=quantization.RECIPES[parity.recipe].summary,
        float32_bytes=float32_bytes,
        cold_start=cold_start,
        simplified=simplified,
        dimension=ranker.users.table.shape[1],
        untrained=origin.oov_untrained,
    ).encode()
