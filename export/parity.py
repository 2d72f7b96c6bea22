"""Parity: a file's scores against Keras's, on each runtime, and what stands in the file."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import root_mean_squared_error

from export import flatbuffer, quantization, serving, weights
from export.agreement import TOP, Agreement, agreement
from export.reference import Pairs, Reference
from export.runtime import Runtime, RuntimeFailure, Session, on_each

Float32 = npt.NDArray[np.float32]

BATCH = 4096
SINGLES = 500
"""How many test pairs are scored again one at a time."""


@dataclass(frozen=True)
class Errors:
    """Absolute differences of scores, in rating points, over `pairs` pairs."""

    pairs: int
    max_abs: float
    mean_abs: float


@dataclass(frozen=True)
class RuntimeParity:
    """One runtime's scores against Keras's.

    Attributes:
        runtime: its name.
        version: of its distribution.
        test: errors on the test ratings' pairs, in batches.
        catalogue: errors on every test user with every known candidate.
        odd_ids: errors on unknown, empty, very long, non-ASCII and emoji ids.
        singles: a sample of the test pairs scored one at a time, against the batches.
        plain_kernels: the test pairs without XNNPACK, against Keras.
        rank: `rank`'s scores of the whole catalogue, for every test user, against Keras's.
        misplaced: positions where `rank`'s order is not the stable descending order of its own
            scores, or where `recommend` disagrees with that order; 0 where both are right.
        rmse: root mean squared error of the file's test predictions, in rating points.
        rmse_keras: Keras's.
        test_agreement: rank agreement over each user's own test candidates.
        catalogue_agreement: rank agreement over the whole catalogue.
    """

    runtime: str
    version: str
    test: Errors
    catalogue: Errors
    odd_ids: Errors
    singles: Errors
    plain_kernels: Errors
    rank: Errors
    misplaced: int
    rmse: float
    rmse_keras: float
    test_agreement: Agreement
    catalogue_agreement: Agreement

    @property
    def rmse_delta(self) -> float:
        """How far the file's RMSE lies from Keras's."""
        return abs(self.rmse - self.rmse_keras)


@dataclass(frozen=True)
class FileFacts:
    """What stands in the file.

    Attributes:
        bytes: its size.
        sha256: its checksum.
        ops: the op list, by signature.
        custom_ops: ops that are no builtins (Flex ops are such).
        lookups: how many string look-ups (HASHTABLE_FIND) the graphs hold.
        parameters: numbers of tables and dense layers in each signature's graph.
        needed_parameters: as many as there must be: those trained, with `export.stable_units`
            left out or merged.
        widened_tables: look-ups of a table that is first widened whole.
        misrounded: stored numbers that are not the needed ones, rounded, by array.
    """

    bytes: int
    sha256: str
    ops: tuple[flatbuffer.OpUse, ...]
    custom_ops: tuple[str, ...]
    lookups: int
    parameters: dict[str, int]
    needed_parameters: int
    widened_tables: int
    misrounded: dict[str, int]


@dataclass(frozen=True)
class Parity:
    """Everything measured of one file."""

    recipe: str
    file: FileFacts
    runtimes: tuple[RuntimeParity, ...]
    runtimes_apart: float
    """The largest difference between two runtimes' scores of a test or odd pair."""
    unit: float = 1.0
    """The labels' spread over that of MovieLens's ratings: what scales the gate's limits."""


def facts(model: bytes, ranker: serving.Ranker, recipe: str) -> FileFacts:
    """Reads what stands in a file, against what must."""
    parsed = flatbuffer.read(model)
    uses = flatbuffer.op_uses(parsed)
    return FileFacts(
        bytes=len(model),
        sha256=hashlib.sha256(model).hexdigest(),
        ops=uses,
        custom_ops=tuple(use.op for use in uses if use.op.startswith("CUSTOM")),
        lookups=sum(use.count for use in uses if use.op == "HASHTABLE_FIND"),
        parameters=flatbuffer.parameters(parsed),
        needed_parameters=ranker.parameters,
        widened_tables=flatbuffer.widened_tables(parsed),
        misrounded=weights.misrounded(parsed, ranker, quantization.RECIPES[recipe]),
    )


def measure(
    recipe: str,
    model: bytes,
    ranker: serving.Ranker,
    reference: Reference,
    runtimes: tuple[Runtime, ...],
    on_runtime: Callable[[str], None] = lambda name: None,
) -> Parity:
    """Measures a file on runtimes.

    Args:
        recipe: the recipe's name.
        model: the file's bytes.
        ranker: the trained parts.
        reference: Keras's scores.
        runtimes: which to run.
        on_runtime: told each runtime's name before they begin.

    Raises:
        RuntimeFailure: a runtime can't load or run the file.
    """
    answers = on_each(runtimes, lambda one: _one_runtime(model, reference, one), on_runtime)
    measured, scores = zip(*answers, strict=True)
    return Parity(
        recipe=recipe,
        file=facts(model, ranker, recipe),
        runtimes=measured,
        runtimes_apart=float(np.ptp(np.stack(scores), axis=0).max()),
        unit=reference.unit,
    )


def _one_runtime(
    model: bytes, reference: Reference, runtime: Runtime
) -> tuple[RuntimeParity, Float32]:
    with runtime.open(model, xnnpack=False) as plain:
        plain_scores = pair_scores(plain, reference.test)
    with runtime.open(model) as session:
        test = pair_scores(session, reference.test)
        odd = pair_scores(session, reference.odd)
        sample = np.linspace(0, len(test) - 1, min(SINGLES, len(test))).astype(int)
        singles = np.array([_single(session, reference.test, index) for index in sample])
        catalogue = np.stack([_catalogue(session, reference, user) for user in reference.users])
        ranked = [_ranked(session, reference.catalogue, user) for user in reference.users]
    keras = reference.test.scores
    return RuntimeParity(
        runtime=runtime.name,
        version=runtime.version,
        test=_errors(keras, test),
        catalogue=_errors(reference.catalogue_scores, catalogue),
        odd_ids=_errors(reference.odd.scores, odd),
        singles=_errors(test[sample], singles),
        plain_kernels=_errors(keras, plain_scores),
        rank=_errors(reference.catalogue_scores, np.stack([scores for scores, _ in ranked])),
        misplaced=sum(misplaced for _, misplaced in ranked),
        rmse=float(root_mean_squared_error(reference.ratings, test)),
        rmse_keras=float(root_mean_squared_error(reference.ratings, keras)),
        test_agreement=agreement(_by_user(reference.test.users, keras, test)),
        catalogue_agreement=agreement(zip(reference.catalogue_scores, catalogue, strict=True)),
    ), np.concatenate([test, odd])


def pair_scores(session: Session, pairs: Pairs) -> Float32:
    """Scores pairs in batches.

    Raises:
        RuntimeFailure: the runtime fails, or gives NaN or the wrong number of scores.
    """
    parts = []
    for start in range(0, len(pairs.users), BATCH):
        batch = slice(start, start + BATCH)
        inputs = {
            serving.USER: pairs.users[batch],
            serving.CANDIDATE: pairs.candidates[batch],
        }
        parts.append(_checked(session, session.run("score", **inputs)["score"], pairs.users[batch]))
    return np.concatenate(parts)


def _single(session: Session, pairs: Pairs, index: int) -> np.float32:
    one = slice(index, index + 1)
    inputs = {serving.USER: pairs.users[one], serving.CANDIDATE: pairs.candidates[one]}
    return np.float32(session.run("score", **inputs)["score"][0])


def _catalogue(session: Session, reference: Reference, user: bytes) -> Float32:
    users = np.full(len(reference.catalogue), user, dtype=object)
    inputs = {serving.USER: users, serving.CANDIDATE: reference.catalogue}
    return _checked(session, session.run("score", **inputs)["score"], users)


def _ranked(
    session: Session, catalogue: npt.NDArray[np.object_], user: bytes
) -> tuple[Float32, int]:
    """`rank`'s scores of the catalogue for a user, and how many places are wrong.

    The best title is given to `recommend` as seen: the places after it must come back.
    """
    one = np.array([user], dtype=object)
    answer = session.run("rank", **{serving.USER: one, serving.CANDIDATE: catalogue})
    scores = _checked(session, answer[serving.SCORE], catalogue)
    order = np.argsort(-scores, kind="stable")
    expected = order[1 : TOP + 1]
    inputs = {
        serving.USER: one,
        serving.COUNT: np.array([TOP], np.int32),
        serving.SEEN: catalogue[order[:1]],
    }
    best = session.run("recommend", **inputs)
    wrong = int(np.sum(answer[serving.ORDER] != order))
    for actual, wanted in (
        (best[serving.INDEX], expected),
        (best[serving.CANDIDATE], catalogue[expected]),
    ):
        wrong += abs(len(actual) - len(wanted)) or int(np.sum(actual != wanted))
    return scores, wrong


def _checked(session: Session, scores: Float32, ids: npt.NDArray[np.object_]) -> Float32:
    if scores.shape != ids.shape or not np.isfinite(scores).all():
        raise RuntimeFailure(
            f"{session.runtime.name}: {len(ids)} pairs gave scores of shape {scores.shape}, "
            f"{int(np.sum(~np.isfinite(scores)))} of them not finite"
        )
    return scores


def _by_user(
    users: npt.NDArray[np.object_], expected: Float32, actual: Float32
) -> Iterator[tuple[Float32, Float32]]:
    order = np.argsort(users.astype(np.bytes_), kind="stable")
    starts = np.unique(users.astype(np.bytes_)[order], return_index=True)[1][1:]
    for rows in np.split(order, starts):
        yield expected[rows], actual[rows]


def _errors(expected: Float32, actual: Float32) -> Errors:
    difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return Errors(difference.size, float(difference.max()), float(difference.mean()))
