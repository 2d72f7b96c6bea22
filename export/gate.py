"""The gate: the limits that a file must keep to be published, a recipe each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from export.parity import FileFacts, Parity, RuntimeParity
from export.quantization import RECIPES, Recipe


@dataclass(frozen=True)
class Limits:
    """Limits of one recipe; scores are in MovieLens's rating points.

    Attributes:
        max_abs: largest error of any score: test, catalogue, odd ids, with XNNPACK or without.
        mean_abs: mean error over the catalogue.
        rmse_delta: how far the test RMSE may move.
        singles: one at a time against batches, where kernels may sum in another order.
        runtimes_apart: one runtime against another.
        kendall_tau: least mean tau-b, over test candidates and over the catalogue.
        ndcg: least mean NDCG@10, likewise.
        top_overlap: least mean overlap of the top 10 over the catalogue.
        reason: why these.
    """

    max_abs: float
    mean_abs: float
    rmse_delta: float
    singles: float
    runtimes_apart: float
    kendall_tau: float
    ndcg: float
    top_overlap: float
    reason: str


# A user's scores spread over the catalogue with a standard deviation of 0.1 to 0.3, and two
# trainings of the tutorial differ by 0.006 in test RMSE: both set the scale below.
LIMITS: Mapping[str, Limits] = MappingProxyType(
    {
        "float32": Limits(
            max_abs=1e-5,
            mean_abs=2e-6,
            rmse_delta=1e-6,
            singles=1e-5,
            runtimes_apart=1e-5,
            kendall_tau=0.999,
            ndcg=0.9999,
            top_overlap=0.99,
            reason="nothing is rounded: a score near 4 has a float32 step of 2.4e-7, and three "
            "sums of up to 256 terms in another order stay within some tens of steps",
        ),
        "float16": Limits(
            max_abs=2e-3,
            mean_abs=5e-4,
            rmse_delta=1e-3,
            singles=1e-5,
            runtimes_apart=2e-5,
            kendall_tau=0.99,
            ndcg=0.9995,
            top_overlap=0.95,
            reason="weights keep 11 bits, 5e-4 of their size, so a score near 4 moves by at most "
            "about 2e-3 (4 times 5e-4), a hundredth of a user's spread",
        ),
        "int8": Limits(
            max_abs=0.01,
            mean_abs=2e-3,
            rmse_delta=1e-3,
            singles=1e-5,
            runtimes_apart=2e-5,
            kendall_tau=0.98,
            ndcg=0.999,
            top_overlap=0.95,
            reason="rows and dense weights keep 8 bits, 4e-3 of their largest value: the worst "
            "score of millions stays within a tenth of the smallest spread, and the RMSE moves "
            "less than a sixth of what another training does; arithmetic is float, so runtimes "
            "differ as for float32 only",
        ),
        "int4": Limits(
            max_abs=0.05,
            mean_abs=0.01,
            rmse_delta=2e-3,
            singles=1e-5,
            runtimes_apart=2e-5,
            kendall_tau=0.9,
            ndcg=0.99,
            top_overlap=0.75,
            reason="rows keep 4 bits, a fourteenth of their largest value: the worst score of "
            "millions may move by half the smallest spread, the mean by a tenth of it, and the "
            "RMSE by a third of what another training moves it",
        ),
        "dynamic_int8": Limits(
            max_abs=0.03,
            mean_abs=6e-3,
            rmse_delta=1e-3,
            singles=0.03,
            runtimes_apart=0.03,
            kendall_tau=0.95,
            ndcg=0.998,
            top_overlap=0.9,
            reason="as int8, and activations are rounded to 8 bits as they come, by kernels that "
            "differ between runtimes: three times int8's largest error",
        ),
    }
)


def limits_of(parity: Parity) -> Limits:
    """The recipe's limits, in the unit of the labels that the model was trained on."""
    limits = LIMITS[parity.recipe]
    scaled = ("max_abs", "mean_abs", "rmse_delta", "singles", "runtimes_apart")
    return replace(limits, **{name: parity.unit * getattr(limits, name) for name in scaled})


@dataclass(frozen=True)
class Breach:
    """One figure beyond its limit."""

    where: str
    figure: str
    value: float | str
    limit: float | str

    def __str__(self) -> str:
        value = f"{self.value:.6g}" if isinstance(self.value, float) else self.value
        return f"{self.where}: {self.figure} is {value}, limit {self.limit}"


def check(parity: Parity, limits: Limits | None = None) -> tuple[Breach, ...]:
    """Every figure of a measured file that breaks a limit; an empty tuple lets it pass.

    Args:
        parity: what was measured.
        limits: the recipe's own where None.
    """
    limits = limits or limits_of(parity)
    breaches = list(_check_file(parity.file, RECIPES[parity.recipe]))
    if not parity.runtimes:
        breaches.append(Breach("runtimes", "number measured", "0", "at least 1"))
    for runtime in parity.runtimes:
        breaches += _check_runtime(runtime, limits)
    # A NaN keeps no limit: hence "not within" rather than "beyond".
    if not parity.runtimes_apart <= limits.runtimes_apart:
        where = "all runtimes"
        breaches.append(
            Breach(where, "largest difference", parity.runtimes_apart, limits.runtimes_apart)
        )
    return tuple(breaches)


def _check_file(file: FileFacts, recipe: Recipe) -> Iterator[Breach]:
    if file.custom_ops:
        yield Breach("file", "custom ops", ", ".join(file.custom_ops), "none")
    if file.lookups == 0:
        yield Breach("file", "HASHTABLE_FIND ops", "0", "at least 1")
    for signature, count in file.parameters.items():
        if count != file.needed_parameters:
            where = f"file, signature {signature}"
            yield Breach(where, "parameters", str(count), f"{file.needed_parameters}")
    if recipe.keeps_tables_small and file.widened_tables:
        yield Breach("file", "tables widened whole", str(file.widened_tables), "0")
    for array, count in file.misrounded.items():
        if count:
            yield Breach("file", f"numbers other than trained, {array}", str(count), "0")


def _check_runtime(runtime: RuntimeParity, limits: Limits) -> Iterator[Breach]:
    at_most = (
        ("largest error, test ratings", runtime.test.max_abs, limits.max_abs),
        ("largest error, catalogue", runtime.catalogue.max_abs, limits.max_abs),
        ("largest error, odd ids", runtime.odd_ids.max_abs, limits.max_abs),
        ("largest error, without XNNPACK", runtime.plain_kernels.max_abs, limits.max_abs),
        ("largest error, rank", runtime.rank.max_abs, limits.max_abs),
        ("misplaced by rank and recommend", float(runtime.misplaced), 0.0),
        ("mean error, catalogue", runtime.catalogue.mean_abs, limits.mean_abs),
        ("one at a time against batches", runtime.singles.max_abs, limits.singles),
        ("RMSE delta", runtime.rmse_delta, limits.rmse_delta),
    )
    at_least = (
        ("Kendall tau, test", runtime.test_agreement.kendall_tau, limits.kendall_tau),
        ("Kendall tau, catalogue", runtime.catalogue_agreement.kendall_tau, limits.kendall_tau),
        ("NDCG@10, test", runtime.test_agreement.ndcg, limits.ndcg),
        ("NDCG@10, catalogue", runtime.catalogue_agreement.ndcg, limits.ndcg),
        ("top-10 overlap, catalogue", runtime.catalogue_agreement.top_overlap, limits.top_overlap),
    )
    for figure, value, limit in at_most:
        if not value <= limit:
            yield Breach(runtime.runtime, figure, value, limit)
    for figure, value, limit in at_least:
        if not value >= limit:
            yield Breach(runtime.runtime, figure, value, limit)
