"""Samples: what a report pictures beyond parity's figures, of the published file.

Parity keeps maxima and means of millions of scores. Pictures need single scores, single users'
agreement and times; these are taken again, from one session on each runtime.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export import serving
from export.agreement import agreement
from export.parity import pair_scores
from export.reference import Reference
from export.runtime import Runtime, Session

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Candidates, and how many calls are timed with as many.
CALLS = {1: 100, 10: 100, 100: 50, 1000: 25}
ROUNDS = 5


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one signature's graph with so many candidates, on one runtime.

    Attributes:
        runtime: its name and version.
        signature: `score` or `rank`.
        candidates: how many.
        median: of the calls.
        low: the first quartile.
        high: the third quartile.
    """

    runtime: str
    signature: str
    candidates: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Samples:
    """Single scores, users and times of a file.

    Attributes:
        runtime: whose scores these are: its name and version.
        test: scores of the reference's test pairs, `float32[n]`.
        odd: scores of its odd pairs.
        catalogue_errors: the file's scores of the whole catalogue less Keras's, for every test
            user, `float32[u * c]`.
        kendall_tau: each test user's tau-b over the catalogue, `float64[<= u]`: users to whom
            Keras gives one score for everything have none.
        ndcg: likewise NDCG@10.
        latencies: of `score` and `rank`, on every runtime.
    """

    runtime: str
    test: Float32
    odd: Float32
    catalogue_errors: Float32
    kendall_tau: Float64
    ndcg: Float64
    latencies: tuple[Latency, ...]


def take(model: bytes, reference: Reference, runtimes: tuple[Runtime, ...]) -> Samples:
    """Takes samples of a file.

    Args:
        model: the file's bytes.
        reference: Keras's scores.
        runtimes: which to time; the last one's scores are taken.

    Raises:
        RuntimeFailure: a runtime can't load or run the file.
    """
    with ExitStack() as stack:
        # All open at once: their turns interleave, so that a busy moment slows each alike.
        sessions = [stack.enter_context(runtime.open(model)) for runtime in runtimes]
        session = sessions[-1]
        test, odd = pair_scores(session, reference.test), pair_scores(session, reference.odd)
        catalogue = catalogue_scores(session, reference)
        latencies = tuple(_latencies(sessions, reference))
    expected = reference.catalogue_scores
    users = [
        agreement([pair]) for pair in zip(expected, catalogue, strict=True) if np.ptp(pair[0]) > 0
    ]
    return Samples(
        runtime=_title(session.runtime),
        test=test,
        odd=odd,
        catalogue_errors=(np.stack(catalogue) - expected).reshape(-1),
        kendall_tau=np.array([user.kendall_tau for user in users]),
        ndcg=np.array([user.ndcg for user in users]),
        latencies=latencies,
    )


def catalogue_scores(session: Session, reference: Reference) -> list[Float32]:
    """`rank`'s scores of the whole catalogue for every test user.

    Raises:
        RuntimeFailure: the runtime can't run the file.
    """
    users = (np.array([user], dtype=object) for user in reference.users)
    inputs = ({serving.USER: user, serving.CANDIDATE: reference.catalogue} for user in users)
    return [session.run("rank", **one)[serving.SCORE] for one in inputs]


def _title(runtime: Runtime) -> str:
    return f"{runtime.name} {runtime.version}"


def _latencies(sessions: list[Session], reference: Reference) -> Iterator[Latency]:
    user = reference.users[:1]
    for candidates, calls in CALLS.items():
        titles = np.resize(reference.catalogue, candidates)
        for signature in ("score", "rank"):
            users = np.repeat(user, candidates) if signature == "score" else user
            inputs = {serving.USER: users, serving.CANDIDATE: titles}
            rounds: list[list[Float64]] = [[] for _ in sessions]
            for _ in range(ROUNDS):
                for times, session in zip(rounds, sessions, strict=True):
                    times.append(session.invoke_times(signature, calls // ROUNDS, **inputs))
            for times, session in zip(rounds, sessions, strict=True):
                low, median, high = np.percentile(np.concatenate(times), [25, 50, 75]) * 1e3
                title = _title(session.runtime)
                yield Latency(title, signature, candidates, float(median), float(low), float(high))
