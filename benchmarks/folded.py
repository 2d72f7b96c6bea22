"""Whether folding the first layer into the movie table pays: `python -m benchmarks.folded`.

Folded, a candidate's row is its half of the first layer, Wm m: 256 values wide instead of 32, int8
with one scale a row, and no matrix product is left for it. docs/decisions/0006 has the answer.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tensorflow as tf
import typer
from rich.console import Console
from rich.table import Table

from export import conversion, quantization, runtime, serving, stable_units

RECIPE = quantization.RECIPES["int8"]
ROUNDS = 40


class FoldedModule(serving.ServingModule):
    """The serving signatures, with candidates' half of the first layer as their table."""

    def __init__(self, ranker: serving.Ranker) -> None:
        super().__init__(ranker)
        dimension = ranker.users.table.shape[1]
        self._folded = tf.constant(ranker.candidates.table @ ranker.dense[0].kernel[dimension:])

    def _candidate_sums(self, ids: tf.Tensor) -> tf.Tensor:
        return tf.gather(self._folded, ids)


@dataclass(frozen=True)
class Row:
    """One runtime and number of candidates: median milliseconds, plain and folded."""

    runtime: str
    candidates: int
    plain: float
    folded: float


def measure(plain: bytes, folded: bytes, ranker: serving.Ranker) -> list[Row]:
    """Times `rank` of both files in turn, on one thread, the graph alone."""
    rows = []
    for kind in runtime.installed():
        if kind.name == "tensorflow":
            continue  # The same kernels as LiteRT.
        with kind.open(plain) as first, kind.open(folded) as second:
            for count in (100, 1_000, 10_000):
                candidates = runtime.utf8(np.resize(ranker.candidates.vocabulary, count).tolist())
                inputs = {serving.USER: runtime.utf8(["42"]), serving.CANDIDATE: candidates}
                times: dict[int, list[float]] = {0: [], 1: []}
                for _ in range(ROUNDS):
                    for side, session in enumerate((first, second)):
                        times[side] += session.invoke_times("rank", 1, **inputs).tolist()
                plain_ms, folded_ms = (1e3 * float(np.median(times[side])) for side in (0, 1))
                rows.append(Row(kind.name, count, plain_ms, folded_ms))
    return rows


def main(
    model: Annotated[Path, typer.Option(help="A SavedModel folder of `python -m model.train`.")],
) -> None:
    """Compares the int8 file with and without the first layer folded into the movie table.

    Example: python -m benchmarks.folded --model artifacts/trained/saved_model
    """
    ranker = stable_units.simplify(serving.ranker_of(serving.load(model))).ranker
    plain, folded = (
        quantization.apply(RECIPE, conversion.to_float32(module))
        for module in (serving.ServingModule(ranker), FoldedModule(ranker))
    )
    table = Table(title=f"int8 {len(plain):,} bytes, folded {len(folded):,} bytes")
    for heading in ("runtime", "candidates", "int8, ms", "folded, ms", "ratio"):
        table.add_column(heading, justify="right")
    for row in measure(plain, folded, ranker):
        table.add_row(
            row.runtime,
            f"{row.candidates:,}",
            f"{row.plain:.3f}",
            f"{row.folded:.3f}",
            f"{row.folded / row.plain:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
