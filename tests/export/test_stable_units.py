"""Stable units: what is left out changes no score, and what is needed stays."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export import conversion, gate, quantization, serving, stable_units
from export.stable_units import LayerUnits
from tests.support import Array, Exported


def layer_sums(ranker: serving.Ranker) -> list[Array]:
    """Every dense layer's sums for every pair of rows, plainly: `float64[pairs, units]` each."""
    users, candidates = (
        np.repeat(ranker.users.table, len(ranker.candidates.table), axis=0),
        np.tile(ranker.candidates.table, (len(ranker.users.table), 1)),
    )
    values = np.concatenate([users, candidates], axis=1).astype(np.float64)
    found = []
    for layer in ranker.dense:
        found.append(values @ layer.kernel + layer.bias)
        values = np.maximum(found[-1], 0) if layer.relu else found[-1]
    return found


def scores(ranker: serving.Ranker) -> Array:
    return layer_sums(ranker)[-1][:, 0]


def made(
    seed: int, rows: tuple[int, int], units: tuple[int, ...], shift: float, scale: float = 1.0
) -> serving.Ranker:
    """A ranker of random numbers; the larger the biases' shift, the more units are stable."""
    random = np.random.default_rng(seed)
    width = 3

    def tower(count: int) -> serving.Tower:
        table = scale * random.standard_normal((count, width), np.float32)
        return serving.Tower(None, tuple(map(str, range(count - 1))), table)

    sizes = (2 * width, *units, 1)
    dense = tuple(
        serving.DenseLayer(
            random.standard_normal((before, after), np.float32),
            (shift * random.standard_normal(after)).astype(np.float32),
            relu=index < len(units),
        )
        for index, (before, after) in enumerate(itertools.pairwise(sizes))
    )
    return serving.Ranker(tower(rows[0]), tower(rows[1]), dense)


rankers = st.builds(
    made,
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple),
    st.sampled_from([0.0, 1.0, 5.0, 50.0]),
    st.sampled_from([0.0, 1e-3, 1.0]),
)


@given(rankers, st.sampled_from([1, 10, 50, 1_000]))
@settings(max_examples=300)
def test_scores_stay(ranker: serving.Ranker, most_pairs: int) -> None:
    """Whatever is stable, and however coarsely it was looked for."""
    simplified = stable_units.simplify(ranker, most_pairs)
    before, after = scores(ranker), scores(simplified.ranker)
    # Kernels of merged units are sums in float32, of numbers up to the largest in the ranker.
    sums = max(float(np.abs(one).max()) for one in layer_sums(ranker))
    np.testing.assert_allclose(after, before, atol=1e-5 * max(sums, 1.0))
    for layer in simplified.ranker.dense:
        assert layer.kernel.dtype == layer.bias.dtype == np.float32
    counted = stable_units.kept(simplified.ranker).layers
    assert [one.left for one in simplified.layers] == [one.units for one in counted]
    assert simplified.trained_parameters == ranker.parameters >= simplified.ranker.parameters


@given(rankers, st.sampled_from([1, 10, 50, 1_000]))
@settings(max_examples=300)
def test_ranges_hold_every_pair(ranker: serving.Ranker, most_pairs: int) -> None:
    found = stable_units.ranges(ranker, most_pairs)
    sums = layer_sums(ranker)
    assert len(found) == len(sums)
    exact = len(ranker.users.table) * len(ranker.candidates.table) <= most_pairs
    for index, (bounds, plain) in enumerate(zip(found, sums, strict=True)):
        # float32 against float64, of sums that may cancel.
        rounding = 1e-5 * max(float(np.abs(one).max()) for one in sums) + 1e-6
        assert (bounds.least <= plain.min(axis=0) + rounding).all()
        assert (bounds.greatest >= plain.max(axis=0) - rounding).all()
        if exact or index == 0:
            np.testing.assert_allclose(bounds.least, plain.min(axis=0), atol=rounding)
            np.testing.assert_allclose(bounds.greatest, plain.max(axis=0), atol=rounding)


def test_more_groups_find_more() -> None:
    """Rows that lie close are put together: otherwise groups would be worth nothing."""
    # Rows that differ by less than biases do.
    ranker = made(1, (60, 80), (24, 12), 3.0, scale=0.3)
    stable = [
        sum(layer.inactive + layer.active for layer in stable_units.simplify(ranker, pairs).layers)
        for pairs in (1, 100, 4_800)
    ]
    assert stable[0] < stable[1] < stable[2]


def hand_made(first: serving.DenseLayer) -> serving.Ranker:
    """One user and one candidate, either known (1) or not (−1): four pairs, two units."""
    table = np.array([[-1], [1]], np.float32)
    last = serving.DenseLayer(np.array([[2], [-3]], np.float32), np.float32([0.5]), relu=False)
    return serving.Ranker(
        serving.Tower(None, ("u",), table), serving.Tower(None, ("c",), table), (first, last)
    )


@pytest.mark.parametrize(
    ("biases", "expected"),
    [
        # Sums lie within 2 of the bias, and touch both ends.
        ((0.0, 0.0), LayerUnits(2, 0, 0, 2)),
        ((-1.999, 1.999), LayerUnits(2, 0, 0, 2)),
        ((-2.0, 0.0), LayerUnits(2, 1, 0, 1)),
        # One that is added and one that is subtracted: nothing to merge.
        ((2.0, 2.0), LayerUnits(2, 0, 2, 2)),
        # One is left where none is needed.
        ((-2.0, -2.0), LayerUnits(2, 2, 0, 1)),
    ],
)
def test_units_are_counted_by_hand(biases: tuple[float, float], expected: LayerUnits) -> None:
    ranker = hand_made(serving.DenseLayer(np.ones((2, 2), np.float32), np.float32(biases), True))
    simplified = stable_units.simplify(ranker)
    assert simplified.layers == (expected,)
    np.testing.assert_allclose(scores(simplified.ranker), scores(ranker), atol=1e-6)


def test_units_that_fire_for_unknown_ids_alone_stay() -> None:
    """Row 0 counts: this unit fires where neither id is known, and nowhere else."""
    kernel = np.array([[-1, 0], [-1, 0]], np.float32)
    ranker = hand_made(serving.DenseLayer(kernel, np.float32([-1, -1]), True))
    simplified = stable_units.simplify(ranker)
    assert simplified.layers == (LayerUnits(2, 1, 0, 1),)
    assert scores(simplified.ranker)[0] == 2 * 1 + 0.5


def test_linear_layers_are_left_alone() -> None:
    ranker = made(0, (4, 5), (6, 4), 50.0)
    linear = replace(ranker, dense=tuple(replace(one, relu=False) for one in ranker.dense))
    assert stable_units.simplify(linear).layers == stable_units.kept(linear).layers


def test_active_units_become_two() -> None:
    ranker = made(0, (4, 5), (10,), 0.0)
    ranker = replace(
        ranker,
        dense=(replace(ranker.dense[0], bias=np.full(10, 50, np.float32)), ranker.dense[1]),
    )
    simplified = stable_units.simplify(ranker)
    assert simplified.layers == (LayerUnits(10, 0, 10, 2),)
    assert str(simplified) == (
        "2 of 10: 0 never fire, and are left out; 10 always do, and are merged where that is fewer"
    )
    assert str(stable_units.kept(ranker)) == "10, as trained"


def test_merged_units_stay_finite() -> None:
    """Kernels far smaller than what they are merged beside, and biases far larger."""
    ranker = made(0, (4, 5), (10,), 1.0)
    first = ranker.dense[0]
    kernel, bias = first.kernel.copy(), first.bias.copy()
    kernel[:, :8] *= np.float32(1e-30)
    bias[:8] = 50
    ranker = replace(ranker, dense=(replace(first, kernel=kernel, bias=bias), ranker.dense[1]))
    simplified = stable_units.simplify(ranker)
    assert simplified.layers[0].left < 10
    assert all(np.isfinite(layer.bias).all() for layer in simplified.ranker.dense)
    np.testing.assert_allclose(scores(simplified.ranker), scores(ranker), rtol=1e-5, atol=1e-3)


@given(rankers, st.sampled_from([1, 3, 100]))
@settings(max_examples=100)
def test_a_sample_hides_nothing(ranker: serving.Ranker, rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stable_units, "SAMPLE_ROWS", rows)
        found = stable_units.simplify(ranker)
    bounds = stable_units.ranges(ranker)
    assert [layer.inactive for layer in found.layers] == [
        int((one.greatest <= 0).sum()) for one in bounds[:-1]
    ]


def test_no_more_pairs_than_can_be_afforded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven rows a side, with 28 multiply-adds a pair after the first layer."""
    ranker = made(0, (11, 11), (6, 4), 3.0)
    assert sum(layer.kernel.size for layer in ranker.dense[1:]) == 28
    exact = stable_units.ranges(ranker, 121)
    for budget, same in ((28 * 121, True), (28 * 121 - 1, False)):
        monkeypatch.setattr(stable_units, "MULTIPLY_ADDS", budget)
        found = stable_units.ranges(ranker)
        width, least_width = (one[-1].greatest - one[-1].least for one in (found, exact))
        assert (width == least_width).all() if same else (width > least_width).all()


def test_the_tutorials_model(ranker: serving.Ranker, simplified: stable_units.Simplified) -> None:
    """Every pair of rows, plainly and in float64: 1.6 million scores, and the units left out."""
    at = ranker.users.table.shape[1]
    candidates = ranker.candidates.table.astype(np.float64)
    fired = np.zeros(64, bool)
    always = np.ones(64, bool)
    apart = 0.0
    for user in ranker.users.table.astype(np.float64):
        both = []
        for dense in (ranker.dense, simplified.ranker.dense):
            first, second, last = dense
            hidden = user @ first.kernel[:at] + candidates @ first.kernel[at:] + first.bias
            sums = np.maximum(hidden, 0) @ second.kernel + second.bias
            both.append(np.maximum(sums, 0) @ last.kernel + last.bias)
            if dense is ranker.dense:
                fired |= (sums > 0).any(axis=0)
                always &= (sums >= 0).all(axis=0)
        apart = max(apart, float(np.abs(both[0] - both[1]).max()))
    # Scores are about 4, and merged kernels are rounded to float32 once.
    assert apart < 1e-6
    second = simplified.layers[1]
    assert second.units == 64
    # A sum within float32's rounding of 0 may fall on either side.
    assert abs(second.inactive - int((~fired).sum())) <= 1
    assert abs(second.active - int(always.sum())) <= 1
    # Most of the second layer is linear after three epochs; otherwise this test shows little.
    assert second.left < 32 < simplified.ranker.dense[0].bias.size < 256


@pytest.mark.parametrize("fault", ["never fires", "always fires"])
def test_the_gate_sees_a_unit_wrongly_judged(
    exported: Exported, ranker: serving.Ranker, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Bounds that are too near 0 by a little: the file no longer scores as Keras does."""
    ranges = stable_units.ranges

    def wrong(
        ranker: serving.Ranker, most_pairs: int | None = None
    ) -> tuple[stable_units.Range, ...]:
        shift = np.float32(0.05)
        return tuple(
            stable_units.Range(one.least, one.greatest - shift)
            if fault == "never fires"
            else stable_units.Range(one.least + shift, one.greatest)
            for one in ranges(ranker, most_pairs)
        )

    monkeypatch.setattr(stable_units, "ranges", wrong)
    broken = stable_units.simplify(ranker).ranker
    assert broken.parameters < exported.ranker.parameters
    file = quantization.apply(quantization.RECIPES["float32"], conversion.of_ranker(broken))
    breaches = gate.check(exported.measure("float32", file))
    assert "largest error, catalogue" in {breach.figure for breach in breaches}
