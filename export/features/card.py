"""What people read of an exported model with named features: the closing table, the model card."""

from rich import box
from rich.table import Table

from export.features.gate import LIMITS
from export.features.model import FeatureModel
from export.features.parity import Parity
from export.quantization import RECIPES

_CARD = """# {name}

One `.tflite` file made of the model `{name}`: recipe `{recipe}` ({summary}), {bytes:,} bytes,
{ratio} of the float32 file's. SHA-256 `{sha256}`.

## Signature `score`

{signature}

One row or more; an id that the model does not know is taken as the model takes it.

## Parity with Keras

Rows: {source}; and {odd} with odd ids and unknown numbers. Errors are in standard deviations of
Keras's scores.

| runtime | output | largest error | mean error | Kendall tau | NDCG@10 |
| --- | --- | --- | --- | --- | --- |
{rows}

Limits of the recipe: largest {limits.max_abs}, mean {limits.mean_abs}, tau {limits.kendall_tau},
NDCG@10 {limits.ndcg}; {limits.reason}.
"""


def figures(parity: Parity) -> list[tuple[str, str, str, str, str, str]]:
    """A line for each runtime and output: names, errors in spreads, agreement."""
    lines = []
    for runtime in parity.runtimes:
        for output in runtime.outputs:
            spread = output.spread or 1.0
            agreement = output.agreement
            lines.append(
                (
                    f"{runtime.runtime} {runtime.version}",
                    output.output,
                    f"{output.rows.max_abs / spread:.1e}",
                    f"{output.rows.mean_abs / spread:.1e}",
                    "none" if agreement is None else f"{agreement.kendall_tau:.4f}",
                    "none" if agreement is None else f"{agreement.ndcg:.5f}",
                )
            )
    return lines


def table(parity: Parity, float32_bytes: int) -> Table:
    """The closing table: a row for each runtime and output."""
    ratio = parity.file.bytes / float32_bytes
    result = Table(
        title=f"{parity.recipe}: {parity.file.bytes:,} bytes, {ratio:.3f} of float32's "
        f"{float32_bytes:,}; errors in spreads of Keras's scores",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
        pad_edge=False,
    )
    for heading in ("runtime", "output"):
        result.add_column(heading, no_wrap=True)
    for heading in ("max", "mean", "tau", "NDCG@10"):
        result.add_column(heading, justify="right", no_wrap=True)
    for line in figures(parity):
        result.add_row(*line)
    return result


def render(model: FeatureModel, parity: Parity, source: str, odd: int, float32_bytes: int) -> bytes:
    """The model card, in Markdown as UTF-8.

    Args:
        model: the trained model.
        parity: everything measured of the file.
        source: where the rows come from.
        odd: how many odd rows there are.
        float32_bytes: size of the float32 file.
    """
    signature = [f"- input `{feature}`" for feature in model.features]
    signature += [f"- output `{name}`" for name in model.outputs]
    if model.unused:
        signature.append(f"- no inputs, since no score depends on them: {', '.join(model.unused)}")
    return _CARD.format(
        name=model.name,
        recipe=parity.recipe,
        summary=RECIPES[parity.recipe].summary,
        bytes=parity.file.bytes,
        ratio=f"{parity.file.bytes / float32_bytes:.3f}",
        sha256=parity.file.sha256,
        signature="\n".join(signature),
        source=source,
        odd=odd,
        rows="\n".join(f"| {' | '.join(line)} |" for line in figures(parity)),
        limits=LIMITS[parity.recipe],
    ).encode()
