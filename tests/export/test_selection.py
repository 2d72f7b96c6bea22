"""The choice among recipes."""

import dataclasses

import pytest

from export import gate, selection
from tests.support import Exported

MS = 1.0


def attempts(exported: Exported) -> tuple[selection.Attempt, ...]:
    made = []
    for recipe in ("float32", "int8", "int4"):
        measured = exported.parity_of(recipe)
        made.append(
            selection.Attempt(exported.files[recipe], measured, gate.check(measured), latency_ms=MS)
        )
    return tuple(made)


def chosen(exported: Exported, wanted: selection.Wanted) -> str | None:
    choice = selection.choose(attempts(exported), wanted)
    return choice.parity.recipe if choice else None


def test_the_smallest_that_passes_is_chosen(exported: Exported) -> None:
    assert chosen(exported, selection.Wanted()) == "int4"


def test_a_wish_for_agreement_costs_bytes(exported: Exported) -> None:
    # int4 reaches 0.997 and int8 0.99999 on this model: see the gate's limits.
    assert chosen(exported, selection.Wanted(min_ndcg=0.999)) == "int8"


def test_a_wish_that_nothing_meets_chooses_nothing_and_says_why(exported: Exported) -> None:
    wanted = selection.Wanted(max_bytes=1000)
    assert chosen(exported, wanted) is None
    reasons = list(selection.reasons(attempts(exported), wanted))
    assert len(reasons) == 3
    assert all("--max-bytes 1,000" in reason for reason in reasons)


def test_a_breach_of_the_gate_is_never_chosen(exported: Exported) -> None:
    broken = gate.Breach("litert", "largest error", 1.0, 0.1)
    tried = tuple(dataclasses.replace(a, breaches=(broken,)) for a in attempts(exported))
    assert selection.choose(tried, selection.Wanted()) is None
    assert str(broken) in next(iter(selection.reasons(tried, selection.Wanted())))


@pytest.mark.parametrize(("size", "expected"), [(0, None), (1, "int4")])
def test_the_limit_itself_is_within(exported: Exported, size: int, expected: str | None) -> None:
    limit = len(exported.files["int4"]) - 1 + size
    assert chosen(exported, selection.Wanted(max_bytes=limit)) == expected
