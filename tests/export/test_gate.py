"""The gate: each planted fault is caught, by the figures that it should show in."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from export import conversion, flatbuffer, gate, parity, quantization, rewriting, rounding, serving
from export.runtime import RuntimeFailure
from tests.support import Exported, ops_named, string_bytes

# The strictest recipe, the default, and the loosest.
FAULT_RECIPES = ("float32", "int8", "int4")
Plant = Callable[[serving.Ranker], serving.Ranker]


def figures(breaches: tuple[gate.Breach, ...]) -> set[str]:
    return {breach.figure for breach in breaches}


def check_planted(exported: Exported, plant: Plant, expected: set[str]) -> None:
    """A file with the fault, in each recipe, breaks these limits; without it, it breaks none."""
    module = serving.ServingModule(plant(exported.ranker))
    float_model = conversion.to_float32(module)
    for recipe in FAULT_RECIPES:
        file = quantization.apply(quantization.RECIPES[recipe], float_model)
        broken = figures(gate.check(exported.measure(recipe, file)))
        assert broken >= expected, f"{recipe}: {broken}"
        assert gate.check(exported.parity_of(recipe)) == ()


def with_dense(ranker: serving.Ranker, layer: int, changed: serving.DenseLayer) -> serving.Ranker:
    return replace(ranker, dense=(*ranker.dense[:layer], changed, *ranker.dense[layer + 1 :]))


def test_two_swapped_rows(exported: Exported) -> None:
    """The best title's row and the worst one's.

    Only float32's limit is fine enough for any two rows: titles whose scores lie nearer to one
    another than a recipe's largest error may change places unseen.
    """
    means = exported.reference.catalogue_scores.mean(axis=0)
    # Row 0 is for ids that are not known.
    rows = [1 + int(means.argmin()), 1 + int(means.argmax())]

    def plant(ranker: serving.Ranker) -> serving.Ranker:
        table = ranker.candidates.table.copy()
        table[rows] = table[rows[::-1]]
        return replace(ranker, candidates=replace(ranker.candidates, table=table))

    check_planted(exported, plant, {"largest error, catalogue", "largest error, rank"})


def test_float32_shows_any_two_swapped_rows(exported: Exported) -> None:
    table = exported.ranker.candidates.table.copy()
    table[[1, 2]] = table[[2, 1]]
    planted = replace(exported.ranker, candidates=replace(exported.ranker.candidates, table=table))
    float_model = conversion.of_ranker(planted)
    file = quantization.apply(quantization.RECIPES["float32"], float_model)
    assert "largest error, catalogue" in figures(gate.check(exported.measure("float32", file)))


def test_zeroed_dense_layer(exported: Exported) -> None:
    def plant(ranker: serving.Ranker) -> serving.Ranker:
        layer = ranker.dense[1]
        return with_dense(ranker, 1, replace(layer, kernel=np.zeros_like(layer.kernel)))

    expected = {"largest error, test ratings", "Kendall tau, catalogue", "NDCG@10, catalogue"}
    check_planted(exported, plant, expected | {"RMSE delta", "mean error, catalogue"})


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_bias_of_zeros(exported: Exported, layer: int) -> None:
    def plant(ranker: serving.Ranker) -> serving.Ranker:
        dense = ranker.dense[layer]
        return with_dense(ranker, layer, replace(dense, bias=np.zeros_like(dense.bias)))

    check_planted(exported, plant, {"largest error, catalogue", "mean error, catalogue"})


@pytest.mark.parametrize("recipe", FAULT_RECIPES)
def test_bias_dropped_from_the_graph(exported: Exported, recipe: str) -> None:
    model = flatbuffer.read(exported.files[recipe])
    units = exported.ranker.dense[1].bias.size
    dropped = 0
    for graph, op in ops_named(model, "FULLY_CONNECTED"):
        operands = flatbuffer.inputs(op)
        if len(operands) == 3 and flatbuffer.shape(graph.tensors[operands[2]]) == (units,):
            op.inputs = [*operands[:2], -1]
            dropped += 1
    assert dropped == len(serving.SIGNATURES)
    breaches = gate.check(exported.measure(recipe, flatbuffer.write(model)))
    assert figures(breaches) >= {"parameters", "largest error, test ratings"}
    lost = [breach for breach in breaches if breach.figure == "parameters"]
    total = exported.ranker.parameters
    assert [(b.value, b.limit) for b in lost] == [(str(total - units), str(total))] * 3


def off_by_one(tower: serving.Tower) -> serving.Tower:
    """The ids of a vocabulary, each in the place of the one before."""
    moved = (*tower.vocabulary[1:], tower.vocabulary[0])
    lookup = tf.keras.layers.StringLookup(vocabulary=list(moved), mask_token=None)
    return replace(tower, lookup=lookup)


def test_candidates_off_by_one(exported: Exported) -> None:
    def plant(ranker: serving.Ranker) -> serving.Ranker:
        return replace(ranker, candidates=off_by_one(ranker.candidates))

    expected = {"largest error, test ratings", "Kendall tau, catalogue", "NDCG@10, catalogue"}
    check_planted(exported, plant, expected)


def test_users_off_by_one(exported: Exported) -> None:
    def plant(ranker: serving.Ranker) -> serving.Ranker:
        return replace(ranker, users=off_by_one(ranker.users))

    check_planted(exported, plant, {"largest error, test ratings", "RMSE delta"})


def test_recommended_titles_off_by_one(exported: Exported) -> None:
    """Every score is right, and the titles beside them are others' titles."""

    def plant(ranker: serving.Ranker) -> serving.Ranker:
        titles = ranker.candidates.vocabulary
        moved = replace(ranker.candidates, vocabulary=(*titles[1:], titles[0]))
        return replace(ranker, candidates=moved)

    module = serving.ServingModule(plant(exported.ranker))
    file = quantization.apply(quantization.RECIPES["int8"], conversion.to_float32(module))
    assert figures(gate.check(exported.measure("int8", file))) == {
        "misplaced by rank and recommend"
    }


@pytest.mark.parametrize("recipe", FAULT_RECIPES)
def test_ids_with_a_nul_appended(exported: Exported, recipe: str) -> None:
    """What Android's `String[]` does to ids, here to the vocabulary: every look-up misses."""
    model = flatbuffer.read(exported.files[recipe])
    for graph, op in ops_named(model, "HASHTABLE_IMPORT"):
        keys = graph.tensors[flatbuffer.inputs(op)[1]]
        spoilt = [one + b"\0" for one in flatbuffer.strings(model, keys)]
        keys.buffer = rewriting.add_buffer(model, string_bytes(spoilt))
    broken = figures(gate.check(exported.measure(recipe, flatbuffer.write(model))))
    assert broken >= {"largest error, test ratings", "Kendall tau, catalogue"}


@pytest.mark.parametrize("recipe", FAULT_RECIPES)
def test_nan_weight(exported: Exported, recipe: str) -> None:
    """One NaN in the last bias makes each score NaN, which no runtime reports by itself."""
    layer = exported.ranker.dense[-1]
    planted = with_dense(exported.ranker, 2, replace(layer, bias=np.full(1, np.nan, np.float32)))
    float_model = conversion.of_ranker(planted)
    file = quantization.apply(quantization.RECIPES[recipe], float_model)
    with pytest.raises(RuntimeFailure, match="not finite"):
        exported.measure(recipe, file)


@pytest.mark.parametrize("recipe", FAULT_RECIPES)
def test_nan_in_a_table(exported: Exported, recipe: str) -> None:
    """A kernel's relu may turn a NaN into 0, and the scores are then finite, and wrong."""
    table = exported.ranker.candidates.table.copy()
    table[5, 3] = np.nan
    planted = replace(exported.ranker, candidates=replace(exported.ranker.candidates, table=table))
    float_model = conversion.of_ranker(planted)
    if quantization.RECIPES[recipe].keeps_tables_small:
        with pytest.raises(rounding.NotFiniteError, match=r"1665 x 32 .* first in row 5"):
            quantization.apply(quantization.RECIPES[recipe], float_model)
        return
    file = quantization.apply(quantization.RECIPES[recipe], float_model)
    try:
        broken = figures(gate.check(exported.measure(recipe, file)))
    except RuntimeFailure as error:
        assert "not finite" in str(error)
    else:
        assert "largest error, catalogue" in broken
        assert "numbers other than trained, candidates' table" in broken


class Flex(tf.Module):
    """A signature with an op that TFLite has no builtin for."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "ids")])
    def score(self, ids: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"score": tf.strings.to_hash_bucket_fast(tf.strings.lower(ids), 10)}

    @property
    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        return {"score": self.score}


def test_flex_op(exported: Exported) -> None:
    module = Flex()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.score.get_concrete_function()], module
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    facts = parity.facts(converter.convert(), exported.ranker, "float32")
    breaches = gate.check(replace(exported.parity_of("int8"), file=facts))
    (custom,) = (breach for breach in breaches if breach.figure == "custom ops")
    assert "FlexStringLower" in str(custom) and "limit none" in str(custom)
    assert "HASHTABLE_FIND ops" in figures(breaches)


@pytest.mark.parametrize("claimed", ["int8", "int4", "dynamic_int8"])
def test_table_widened_whole(exported: Exported, claimed: str) -> None:
    """float16's file has tables that are widened at load: no int8 recipe may do so."""
    as_float16 = exported.parity_of("float16")
    (breach,) = (
        breach
        for breach in gate.check(replace(as_float16, recipe=claimed))
        if breach.figure == "tables widened whole"
    )
    assert (breach.value, breach.limit) == ("6", "0")


def test_no_runtime_is_a_breach(exported: Exported) -> None:
    breaches = gate.check(replace(exported.parity_of("int8"), runtimes=()))
    assert [breach.where for breach in breaches] == ["runtimes"]


def test_runtimes_too_far_apart(exported: Exported) -> None:
    (breach,) = gate.check(replace(exported.parity_of("int8"), runtimes_apart=0.5))
    assert str(breach) == (
        f"all runtimes: largest difference is 0.5, limit {gate.LIMITS['int8'].runtimes_apart}"
    )


def test_nan_figures_keep_no_limit(exported: Exported) -> None:
    measured = exported.parity_of("int8")
    first = measured.runtimes[0]
    nan = parity.Errors(1, float("nan"), float("nan"))
    spoilt = replace(first, test=nan, catalogue=nan, rmse=float("nan"))
    breaches = gate.check(replace(measured, runtimes=(spoilt,), runtimes_apart=float("nan")))
    assert figures(breaches) == {
        "largest error, test ratings",
        "largest error, catalogue",
        "mean error, catalogue",
        "RMSE delta",
        "largest difference",
    }


def test_every_recipe_has_limits_with_a_reason() -> None:
    assert set(gate.LIMITS) == set(quantization.RECIPES)
    for limits in gate.LIMITS.values():
        assert len(limits.reason.split()) > 10


def test_one_limit_decides(exported: Exported) -> None:
    """A limit just under the figure is a breach, and one at the figure is none."""
    measured = exported.parity_of("int8")
    worst = max(one.catalogue.max_abs for one in measured.runtimes)
    limits = gate.LIMITS["int8"]
    below = gate.check(measured, replace(limits, max_abs=np.nextafter(worst, 0)))
    assert "largest error, catalogue" in figures(below)
    at = gate.check(measured, replace(limits, max_abs=worst))
    assert "largest error, catalogue" not in figures(at)
