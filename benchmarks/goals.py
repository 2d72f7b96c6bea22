"""Goals: ratios within one run, and whether they are met."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import contenders, yardsticks
from benchmarks.timing import Key, Ratio, Times, ratio
from export import quantization

DEFAULT = quantization.DEFAULT_RECIPE
MAX_SIZE = {"int8": 0.34, "int4": 0.27}
MIN_NDCG = {"int8": 0.999, "int4": 0.99}
LIMIT_SHAPE = (1024, 1024, 1024)
LIMIT_CANDIDATES = 10_000


@dataclass(frozen=True)
class Goal:
    """One goal: what was measured, and what it must not pass.

    Attributes:
        what: in words.
        where: the runtime, or the file.
        value: measured.
        limit: the goal.
        least: whether the limit is the least allowed, rather than the most.
        spread: the value with its quartiles, or as it is printed.
    """

    what: str
    where: str
    value: float
    limit: float
    least: bool
    spread: str

    @property
    def met(self) -> bool:
        """Whether it is met; a NaN meets nothing."""
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass(frozen=True)
class Work:
    """What ranking candidates can't do without.

    Attributes:
        macs: multiply-adds of the dense layers, with the user's half of the first done once.
        moved: bytes of ids, rows, scores and order; what lies between could stay in registers.
    """

    macs: int
    moved: int


@dataclass(frozen=True)
class Limit:
    """What the machine takes at best to rank `LIMIT_CANDIDATES`.

    Attributes:
        what: whose layers.
        work: what they can't do without.
        milliseconds: for it.
    """

    what: str
    work: Work
    milliseconds: float


def milliseconds_needed(work: Work, sgemm: Times, copy: Times) -> float:
    """The machine's limit: its best matrix product's rate and its copy's, one after the other."""
    rows, inner, columns = LIMIT_SHAPE
    per_mac = sgemm.median / (rows * inner * columns)
    # A copy reads and writes each byte.
    per_byte = copy.median / (2 * yardsticks.COPY_BYTES)
    return work.macs * per_mac + work.moved * per_byte


def of_sizes(sizes: Mapping[str, int]) -> Iterator[Goal]:
    """The files' sizes."""
    for recipe, limit in MAX_SIZE.items():
        value = sizes[recipe] / sizes[contenders.NAIVE]
        what = f"file size, `{recipe}` over naive float32"
        yield Goal(what, "file", value, limit, False, f"{value:.3f}")


def of_times(
    times: Mapping[Key, Times], runtimes: list[str], titles: int, limits: Sequence[Limit]
) -> Iterator[Goal]:
    """The graphs' times.

    Args:
        times: measured.
        runtimes: their names.
        titles: how many are in the catalogue.
        limits: the machine's for `rank` at 10,000 candidates.
    """
    for runtime in runtimes:

        def graph(
            file: str, signature: str, candidates: int, runtime: str = runtime
        ) -> Times | None:
            return times.get(Key(file, runtime, signature, candidates, "graph"))

        naive = graph(contenders.NAIVE, "score", 1000)
        catalogue = graph(contenders.NAIVE, "score", titles)
        pairs = [
            ("`score`, 1,000 pairs", graph(DEFAULT, "score", 1000), naive, 1.0),
            ("`rank`, 1,000 candidates", graph(DEFAULT, "rank", 1000), naive, 0.75),
            ("`rank`, 1,000 candidates, `folded`", graph("folded", "rank", 1000), naive, 0.55),
            ("`recommend`, all titles", graph(DEFAULT, "recommend", titles), catalogue, 0.6),
        ]
        for what, ours, theirs, limit in pairs:
            if ours and theirs:
                yield _of_ratio(f"{what}, over naive float32", runtime, ratio(ours, theirs), limit)
        ours = graph(DEFAULT, "rank", LIMIT_CANDIDATES)
        if ours and runtime == "litert":
            for bound in limits:
                parts = (one / bound.milliseconds for one in (ours.median, ours.low, ours.high))
                what = f"`rank`, 10,000 candidates, over the limit of the layers {bound.what}"
                yield _of_ratio(what, runtime, Ratio(*parts), 2.0)


def of_starts(starts: Mapping[tuple[str, str], Times]) -> Iterator[Goal]:
    """Cold starts, by file and runtime."""
    for (file, runtime), times in starts.items():
        if file == DEFAULT:
            against = ratio(times, starts[contenders.NAIVE, runtime])
            yield _of_ratio("cold start, over naive float32", runtime, against, 1.0)


def of_agreement(ndcg: Mapping[str, float]) -> Iterator[Goal]:
    """NDCG@10 over the catalogue against Keras's order."""
    for recipe, limit in MIN_NDCG.items():
        what = f"NDCG@10 over the catalogue, `{recipe}`"
        yield Goal(what, "litert", ndcg[recipe], limit, True, f"{ndcg[recipe]:.6f}")


def _of_ratio(what: str, runtime: str, value: Ratio, limit: float) -> Goal:
    return Goal(what, runtime, value.median, limit, False, str(value))
