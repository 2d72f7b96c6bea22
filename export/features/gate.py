"""The gate for models with named features: limits that scale with each output's spread."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from export.features.parity import FileFacts, OutputParity, Parity
from export.gate import Breach
from export.quantization import RECIPES

ROUNDING = 2e-6
"""Of an output's largest score, allowed beside every limit: 16 steps of a float32."""


@dataclass(frozen=True)
class Limits:
    """Limits of one recipe; errors in standard deviations of Keras's scores.

    Attributes:
        max_abs: largest error of any row: in batches, odd, without XNNPACK.
        mean_abs: mean error.
        singles: one at a time against batches, where kernels may sum in another order.
        runtimes_apart: one runtime against another.
        kendall_tau: least mean tau-b within groups.
        ndcg: least mean NDCG@10, likewise.
        reason: why these.
    """

    max_abs: float
    mean_abs: float
    singles: float
    runtimes_apart: float
    kendall_tau: float
    ndcg: float
    reason: str


# As the tutorial's limits (export/gate.py) over its smallest spread, 0.1 rating points, with half
# as much again where weights are rounded: a deeper model adds up more layers' errors.
LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "float32": Limits(
            max_abs=1e-4,
            mean_abs=2e-5,
            singles=1e-4,
            runtimes_apart=1e-4,
            kendall_tau=0.999,
            ndcg=0.9999,
            reason="nothing is rounded: only the order of sums differs",
        ),
        "float16": Limits(
            max_abs=0.03,
            mean_abs=7.5e-3,
            singles=1e-4,
            runtimes_apart=2e-4,
            kendall_tau=0.99,
            ndcg=0.9995,
            reason="weights keep 11 bits, 5e-4 of their size",
        ),
        "int8": Limits(
            max_abs=0.15,
            mean_abs=0.03,
            singles=1e-4,
            runtimes_apart=2e-4,
            kendall_tau=0.97,
            ndcg=0.999,
            reason="rows and kernels keep 8 bits, 4e-3 of their largest value; a mean error of a "
            "thirtieth of the spread swaps only rows that lie as close; arithmetic is float, so "
            "runtimes differ as for float32 only",
        ),
        "int4": Limits(
            max_abs=0.75,
            mean_abs=0.15,
            singles=1e-4,
            runtimes_apart=2e-4,
            kendall_tau=0.85,
            ndcg=0.985,
            reason="rows keep 4 bits, a fourteenth of their largest value",
        ),
        "dynamic_int8": Limits(
            max_abs=0.45,
            mean_abs=0.09,
            singles=0.45,
            runtimes_apart=0.45,
            kendall_tau=0.93,
            ndcg=0.997,
            reason="as int8, and activations are rounded to 8 bits as they come, by kernels that "
            "differ between runtimes: three times int8's errors",
        ),
    }
)


def check(parity: Parity, names: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[Breach, ...]:
    """Every figure of a measured file that breaks a limit; an empty tuple lets it pass.

    Args:
        parity: what was measured.
        names: the model's inputs and outputs, sorted: the file must have just these.
    """
    limits = LIMITS[parity.recipe]
    breaches = list(_check_file(parity, names))
    if not parity.runtimes:
        breaches.append(Breach("runtimes", "number measured", "0", "at least 1"))
    for runtime in parity.runtimes:
        for output in runtime.outputs:
            breaches += _check_output(f"{runtime.runtime}, {output.output}", output, limits)
            apart = parity.runtimes_apart[output.output]
            allowed = _allowed(output, limits.runtimes_apart)
            if runtime is parity.runtimes[0] and not apart <= allowed:
                where = f"all runtimes, {output.output}"
                breaches.append(Breach(where, "largest difference", apart, allowed))
    return tuple(breaches)


def _check_file(parity: Parity, names: tuple[tuple[str, ...], tuple[str, ...]]) -> Iterator[Breach]:
    file: FileFacts = parity.file
    if file.custom_ops:
        yield Breach("file", "custom ops", ", ".join(file.custom_ops), "none")
    for what, found, wanted in zip(
        ("inputs", "outputs"), (file.inputs, file.outputs), names, strict=True
    ):
        if found != wanted:
            yield Breach("file", what, ", ".join(found), ", ".join(wanted))
    for shape in file.lost:
        yield Breach("file", "trained numbers lost, shape", str(list(shape)), "none")
    if file.parameters != file.float32_parameters:
        yield Breach("file", "parameters", str(file.parameters), str(file.float32_parameters))
    if RECIPES[parity.recipe].keeps_tables_small and file.widened_tables:
        yield Breach("file", "tables widened whole", str(file.widened_tables), "0")


def _allowed(output: OutputParity, limit: float) -> float:
    """A limit in the output's own unit."""
    return limit * output.spread + ROUNDING * output.largest


def _check_output(where: str, output: OutputParity, limits: Limits) -> Iterator[Breach]:
    at_most = (
        ("largest error", output.rows.max_abs, limits.max_abs),
        ("largest error, odd rows", output.odd.max_abs, limits.max_abs),
        ("largest error, without XNNPACK", output.plain_kernels.max_abs, limits.max_abs),
        ("mean error", output.rows.mean_abs, limits.mean_abs),
        ("one at a time against batches", output.singles.max_abs, limits.singles),
    )
    for figure, value, limit in at_most:
        # A NaN keeps no limit: hence "not within" rather than "beyond".
        if not value <= _allowed(output, limit):
            yield Breach(where, figure, value, _allowed(output, limit))
    if output.agreement is None:
        yield Breach(where, "groups whose rows differ in score", "0", "at least 1")
        return
    at_least = (
        ("Kendall tau", output.agreement.kendall_tau, limits.kendall_tau),
        ("NDCG@10", output.agreement.ndcg, limits.ndcg),
    )
    for figure, value, limit in at_least:
        if not value >= limit:
            yield Breach(where, figure, value, limit)
