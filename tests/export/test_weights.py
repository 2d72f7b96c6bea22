"""Weights: what files store against what was trained, and faults that no score shows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from export import flatbuffer, gate, html_report, parity, quantization, rounding, serving, weights
from model import ranking
from tests.support import Exported

Recipes = quantization.RECIPES
TABLE = "candidates' table"


def counts(file: bytes, ranker: serving.Ranker, recipe: str) -> dict[str, int]:
    return weights.misrounded(flatbuffer.read(file), ranker, Recipes[recipe])


def test_every_recipe_stores_what_was_trained(exported: Exported, recipe: str) -> None:
    found = counts(exported.files[recipe], exported.ranker, recipe)
    # Two tables, two halves and two kernels, three biases.
    assert len(found) == 9
    assert set(found.values()) == {0}


def with_rows(ranker: serving.Ranker, rows: list[int]) -> serving.Ranker:
    """The ranker whose candidates at these rows have changed places."""
    table = ranker.candidates.table.copy()
    table[rows] = table[rows[::-1]]
    return replace(ranker, candidates=replace(ranker.candidates, table=table))


def nearest(exported: Exported) -> list[int]:
    """The rows of two titles that score nearest to one another for all users."""
    scores = exported.reference.catalogue_scores
    order = np.argsort(scores.mean(axis=0))
    apart = np.abs(scores[:, order[1:]] - scores[:, order[:-1]]).max(axis=0)
    place = int(apart.argmin())
    # Row 0 is for ids that are not known.
    return [1 + int(order[place]), 1 + int(order[place + 1])]


@pytest.mark.parametrize("name", ["float16", "int8", "int4", "dynamic_int8"])
def test_two_rows_that_score_alike(exported: Exported, name: str) -> None:
    """Their scores differ by less than the recipe's largest error: the numbers tell them apart.

    The file is right and the ranker it is held against has the rows swapped, which is the same.
    """
    rows = nearest(exported)
    swapped = with_rows(exported.ranker, rows)
    scores = exported.reference.catalogue_scores[:, [row - 1 for row in rows]]
    assert np.ptp(scores, axis=1).max() < gate.LIMITS["int8"].max_abs
    found = counts(exported.files[name], swapped, name)
    # Most of two rows of 32; a few numbers happen to round alike.
    assert found[TABLE] > 32
    assert sum(found.values()) == found[TABLE]
    facts = parity.facts(exported.files[name], swapped, name)
    (breach,) = gate.check(replace(exported.parity_of(name), file=facts))
    assert str(breach) == f"file: numbers other than trained, {TABLE} is {found[TABLE]}, limit 0"


def test_one_number_of_each_array(exported: Exported, recipe: str) -> None:
    """A step and a half off, where half a step is allowed."""
    ranker, file = exported.ranker, exported.files[recipe]
    step = np.float32({"int4": 1.5 / 7, "float32": 1e-6, "float16": 1e-3}.get(recipe, 1.5 / 127))

    def off(array: np.ndarray) -> np.ndarray:
        changed = array.copy()
        changed[-1, ...] += step * np.abs(array).max()
        return changed

    tables = [replace(t, table=off(t.table)) for t in (ranker.users, ranker.candidates)]
    dense = tuple(replace(d, kernel=off(d.kernel), bias=off(d.bias)) for d in ranker.dense)
    found = counts(
        file, replace(ranker, users=tables[0], candidates=tables[1], dense=dense), recipe
    )
    unchanged = [name for name, count in found.items() if not count]
    # The last row of the first kernel lies in its second half.
    assert unchanged == ["dense 1, users' kernel"]


def test_array_that_the_file_has_not(exported: Exported) -> None:
    wider = replace(exported.ranker.users, table=np.ones((7, 32), np.float32))
    found = counts(exported.files["int8"], replace(exported.ranker, users=wider), "int8")
    assert found["users' table"] == 7 * 32


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=2, max_dims=2, max_side=8),
        elements=st.floats(-1e4, 1e4, width=32),
    ),
    st.sampled_from([("int8", 127), ("int4", 7)]),
)
def test_bound_holds_for_any_table(table: np.ndarray, kind: tuple[str, int]) -> None:
    rows = rounding.quantize_rows(table, kind[1])
    assert weights._beyond(table, weights._bound(table, kind[0], rows=True), [rows.widened]) == 0
    off = table + 2 * np.abs(table).max() / kind[1] + np.float32(1e-30)
    if table.any():
        assert weights._beyond(table, weights._bound(table, kind[0], rows=True), [off]) > 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["user_embeddings", "movie_embeddings", "ratings"])
def test_trained_numbers_that_are_not_finite(
    keras_model: ranking.MovielensModel, value: float, part: str
) -> None:
    """The model's own error names the layer, before anything is converted."""
    layer = getattr(keras_model.ranking_model, part).layers[-1]
    trained = layer.get_weights()
    spoilt = trained[0].copy()
    spoilt[0, 0] = value
    layer.set_weights([spoilt, *trained[1:]])
    try:
        with pytest.raises(serving.ModelError, match=f"^{part}.*: 1 of .* NaN or infinite"):
            serving.ranker_of(keras_model)
    finally:
        layer.set_weights(trained)


def test_report_shows_every_figure_of_the_gate(exported: Exported) -> None:
    measured = exported.parity_of("int8")
    spoilt = replace(
        measured,
        file=replace(measured.file, misrounded={TABLE: 3}),
        runtimes=tuple(replace(one, misplaced=2) for one in measured.runtimes),
        runtimes_apart=0.5,
    )
    rows = {row.figure: row for row in html_report.gate_rows(spoilt, gate.LIMITS["int8"])}
    wide = len(measured.runtimes)
    assert rows["places wrong in rank and recommend"].values == ("2",) * wide
    assert rows["two runtimes' largest difference"].values == ("5.0e-01",) * wide
    assert rows["stored numbers other than trained"].values == ("3",) * wide
