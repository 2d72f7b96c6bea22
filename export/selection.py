"""The choice among recipes: the frontier of size, latency and agreement."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from export import gate, serving
from export.parity import Parity
from export.reference import Reference
from export.runtime import Runtime

CANDIDATES = 1000
REPEATS = 30


@dataclass(frozen=True)
class Wanted:
    """What `--recipe auto` was asked to keep, beside the gate; None for no wish."""

    max_bytes: int | None = None
    min_ndcg: float | None = None


class Measured(Protocol):
    """What the choice needs of an attempt, whatever its model is."""

    @property
    def content(self) -> bytes:
        """The file."""

    @property
    def recipe(self) -> str:
        """The recipe's name."""

    @property
    def breaches(self) -> tuple[gate.Breach, ...]:
        """Of the gate."""

    @property
    def ndcg(self) -> float:
        """The worst runtime's NDCG@10."""


_Attempt = TypeVar("_Attempt", bound=Measured)


@dataclass(frozen=True)
class Attempt:
    """One recipe's file and what was measured of it.

    Attributes:
        content: the file.
        parity: what was measured.
        breaches: of the gate.
        latency_ms: median of `rank` with 1,000 candidates, milliseconds.
    """

    content: bytes = field(repr=False)
    parity: Parity
    breaches: tuple[gate.Breach, ...]
    latency_ms: float

    @property
    def recipe(self) -> str:
        """The recipe's name."""
        return self.parity.recipe

    @property
    def ndcg(self) -> float:
        """The worst runtime's NDCG@10 over the catalogue."""
        return min(runtime.catalogue_agreement.ndcg for runtime in self.parity.runtimes)


def latency(content: bytes, reference: Reference, runtime: Runtime) -> float:
    """Median time of `rank` with 1,000 candidates on one thread, milliseconds."""
    catalogue = np.resize(reference.catalogue, CANDIDATES)
    inputs = {serving.USER: reference.users[:1], serving.CANDIDATE: catalogue}
    with runtime.open(content) as session:
        return float(np.median(session.times("rank", REPEATS, **inputs)) * 1e3)


def choose(attempts: Sequence[_Attempt], wanted: Wanted) -> _Attempt | None:
    """The smallest file that keeps the gate's limits and the wishes; None where none does."""
    passing = [a for a in attempts if not a.breaches and not list(_unmet(a, wanted))]
    return min(passing, key=lambda a: len(a.content), default=None)


def reasons(attempts: Sequence[Measured], wanted: Wanted) -> Iterator[str]:
    """Why nothing may be published: every breach and unmet wish, a line each."""
    for attempt in attempts:
        name = f"{attempt.recipe}: " if len(attempts) > 1 else ""
        for reason in (*attempt.breaches, *_unmet(attempt, wanted)):
            yield f"{name}{reason}"


def figures(attempt: Attempt) -> dict[str, Any]:
    """One point of the frontier, ready for JSON."""
    return {
        "recipe": attempt.parity.recipe,
        "bytes": attempt.parity.file.bytes,
        "rank_1000_ms": attempt.latency_ms,
        "ndcg_at_10": attempt.ndcg,
        "breaches": [str(breach) for breach in attempt.breaches],
    }


def _unmet(attempt: Measured, wanted: Wanted) -> Iterator[str]:
    size = len(attempt.content)
    if wanted.max_bytes is not None and size > wanted.max_bytes:
        yield f"{size:,} bytes, --max-bytes {wanted.max_bytes:,}"
    if wanted.min_ndcg is not None and not attempt.ndcg >= wanted.min_ndcg:
        yield f"NDCG@10 {attempt.ndcg:.5f}, --min-ndcg {wanted.min_ndcg}"
