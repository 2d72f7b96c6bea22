"""Rank agreement: whether two scorings put candidates in the same order."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau
from sklearn.metrics import ndcg_score

Float32 = npt.NDArray[np.float32]

TOP = 10


class NoOrderError(ValueError):
    """No user has two candidates to order: nothing can be proven of ranks."""


@dataclass(frozen=True)
class Agreement:
    """Rank agreement over users, each figure a mean over users (1 is the same order).

    Attributes:
        users: how many had two candidates or more, with different scores.
        kendall_tau: Kendall's tau-b.
        kendall_tau_min: the least agreeing user's.
        ndcg: NDCG@10 of the second order, where a candidate's gain is its first score above the
            user's lowest one (plain scores lie so close together that any order looks good).
        top_overlap: the share of the first top 10 that is in the second one.
    """

    users: int
    kendall_tau: float
    kendall_tau_min: float
    ndcg: float
    top_overlap: float


def agreement(pairs: Iterable[tuple[Float32, Float32]]) -> Agreement:
    """Rank agreement of users' scores.

    Args:
        pairs: for each user, the reference's and the other's scores of the same candidates,
            both `float32[n]`. Users with fewer than two candidates, or whose reference scores
            are all equal, have no order and are left out.

    Raises:
        NoOrderError: no user has an order.
    """
    taus, gains, overlaps = [], [], []
    for expected, actual in pairs:
        if len(expected) < 2 or np.ptp(expected) == 0:
            continue
        # A constant answer has no order at all, and tau-b is then undefined: no agreement.
        tau = float(kendalltau(expected, actual).statistic)
        taus.append(0.0 if np.isnan(tau) else tau)
        gains.append(float(ndcg_score([expected - expected.min()], [actual], k=TOP)))
        best = [set(np.argsort(-scores, kind="stable")[:TOP]) for scores in (expected, actual)]
        overlaps.append(len(best[0] & best[1]) / len(best[0]))
    if not taus:
        raise NoOrderError(
            "no user has two candidates with different scores: there is no order to prove, so "
            "give more ratings"
        )
    return Agreement(
        users=len(taus),
        kendall_tau=float(np.mean(taus)),
        kendall_tau_min=float(np.min(taus)),
        ndcg=float(np.mean(gains)),
        top_overlap=float(np.mean(overlaps)),
    )
