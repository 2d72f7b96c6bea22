"""Rank agreement, recomputed by hand on orders small enough to count."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.agreement import Agreement, agreement


def of(expected: Sequence[float], actual: Sequence[float]) -> Agreement:
    return agreement([(np.array(expected, np.float32), np.array(actual, np.float32))])


def test_same_order_agrees_wholly() -> None:
    assert of([1.0, 3.0, 2.0], [1.0, 3.0, 2.0]) == Agreement(1, 1.0, 1.0, 1.0, 1.0)


def test_other_scores_in_the_same_order_agree_wholly() -> None:
    assert of([1.0, 3.0, 2.0], [10.0, 99.0, 11.0]) == Agreement(1, 1.0, 1.0, 1.0, 1.0)


def test_tau_by_hand() -> None:
    # Of the six pairs of 1 2 3 4, the order 2 1 3 4 turns one round: (5 - 1) / 6.
    assert of([1, 2, 3, 4], [2, 1, 3, 4]).kendall_tau == pytest.approx(4 / 6)


def test_reversed_order() -> None:
    result = of([1, 2, 3, 4], [4, 3, 2, 1])
    assert result.kendall_tau == result.kendall_tau_min == -1.0


def test_ndcg_by_hand() -> None:
    # Gains above the lowest score: 0, 1, 2. The answer puts them as 1, 2, 0.
    ideal = 2 / np.log2(2) + 1 / np.log2(3)
    gained = 1 / np.log2(2) + 2 / np.log2(3)
    assert of([5.0, 6.0, 7.0], [1.0, 3.0, 2.0]).ndcg == pytest.approx(gained / ideal)


def test_ndcg_does_not_depend_on_the_scale_of_scores() -> None:
    near = of([4.00, 4.01, 4.02], [1.0, 3.0, 2.0])
    far = of([0.0, 1.0, 2.0], [1.0, 3.0, 2.0])
    # float32 scores near 4 have steps of 2.4e-7, which is 2.4e-5 of a gain of 0.01.
    assert near.ndcg == pytest.approx(far.ndcg, abs=1e-4)


def test_top_overlap_by_hand() -> None:
    expected = list(range(20))
    # The best three of twenty fall to the end: seven of the top ten stay.
    actual = [*range(17), -1, -2, -3]
    assert of(expected, actual).top_overlap == pytest.approx(0.7)


def test_top_overlap_of_fewer_than_ten() -> None:
    assert of([1, 2, 3], [3, 2, 1]).top_overlap == 1.0


def test_constant_answer_does_not_agree() -> None:
    result = of([1, 2, 3, 4], [2, 2, 2, 2])
    assert result.kendall_tau == 0.0
    assert result.ndcg < 1.0


def test_users_are_averaged() -> None:
    same = (np.array([1, 2], np.float32), np.array([1, 2], np.float32))
    turned = (np.array([1, 2], np.float32), np.array([2, 1], np.float32))
    result = agreement([same, same, turned])
    assert result.users == 3
    assert result.kendall_tau == pytest.approx(1 / 3)
    assert result.kendall_tau_min == -1.0


def test_users_without_an_order_are_left_out() -> None:
    alone = (np.array([1], np.float32), np.array([5], np.float32))
    equal = (np.array([2, 2], np.float32), np.array([1, 5], np.float32))
    ordered = (np.array([1, 2], np.float32), np.array([1, 2], np.float32))
    assert agreement([alone, equal, ordered]).users == 1
    with pytest.raises(ValueError, match="no user"):
        agreement([alone, equal])


@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30, unique=True), st.randoms())
def test_tau_counts_pairs(scores: list[int], random: "np.random.Generator") -> None:
    """Tau without ties, counted pair by pair."""
    answer = list(scores)
    random.shuffle(answer)
    pairs = [(i, j) for i in range(len(scores)) for j in range(i)]
    signs = [np.sign((scores[i] - scores[j]) * (answer[i] - answer[j])) for i, j in pairs]
    result = of([float(s) for s in scores], [float(a) for a in answer])
    assert result.kendall_tau == pytest.approx(sum(signs) / len(pairs))
