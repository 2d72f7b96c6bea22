"""What a measured file must be caught at: every planted fault is a breach."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from export import flatbuffer, quantization, rewriting
from export.features import gate, parity
from export.features.model import FeatureModel
from export.gate import Breach
from tests import support
from tests.export.features.conftest import Case


def names(model: FeatureModel) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return tuple(sorted(f.name for f in model.features)), tuple(sorted(model.outputs))


def breaches(case: Case, measured: parity.Parity) -> tuple[Breach, ...]:
    return gate.check(measured, names(case.model))


@pytest.mark.parametrize("recipe", quantization.RECIPES)
def test_every_recipe_passes(dcn: Case, recipe: str) -> None:
    assert breaches(dcn, dcn.measure(dcn.file(recipe), recipe)) == ()


def test_the_oldest_runtime_passes(dcn: Case) -> None:
    measured = dcn.measure(dcn.file(), quantization.DEFAULT_RECIPE, *support.RUNTIMES[:2])
    assert breaches(dcn, measured) == ()
    assert len(measured.runtimes) == min(2, len(support.RUNTIMES))


def table(model: flatbuffer.Model, rows: int) -> flatbuffer.Tensor:
    """The int8 table with that many rows."""
    (found,) = {
        tensor.buffer: tensor
        for graph in model.subgraphs
        for tensor in graph.tensors
        if flatbuffer.type_name(tensor) == "INT8"
        and flatbuffer.shape(tensor)[:1] == (rows,)
        and flatbuffer.shape(tensor)[1] > 1
    }.values()
    return found


def rotated_ids(case: Case, model: flatbuffer.Model) -> None:
    """Every title takes the row of the one before."""
    rows = len(case.model.tables) and max(m.shape[0] for m in case.model.matrices)
    tensor = table(model, rows)
    values = flatbuffer.constant(model, tensor)
    assert values is not None
    model.buffers[tensor.buffer].data = np.roll(values, 1, axis=0).reshape(-1).view(np.uint8)


def swapped_heads(case: Case, model: flatbuffer.Model) -> None:
    (signature,) = model.signatureDefs
    first, second = signature.outputs
    first.tensorIndex, second.tensorIndex = second.tensorIndex, first.tensorIndex


def zeroed_kernel(case: Case, model: flatbuffer.Model) -> None:
    graph, op = support.ops_named(model, "FULLY_CONNECTED")[-1]
    kernel = graph.tensors[flatbuffer.inputs(op)[1]]
    size = int(np.prod(flatbuffer.shape(kernel)))
    kernel.buffer = rewriting.add_buffer(model, np.zeros(size, np.float32))


@pytest.mark.parametrize("fault", [rotated_ids, swapped_heads, zeroed_kernel])
def test_planted_faults_are_caught(
    dcn: Case, fault: Callable[[Case, flatbuffer.Model], None]
) -> None:
    model = flatbuffer.read(dcn.file())
    fault(dcn, model)
    found = breaches(dcn, dcn.measure(flatbuffer.write(model)))
    assert any("largest error" in str(breach) for breach in found)


def test_a_dropped_weight_is_caught_by_its_size(dcn: Case) -> None:
    """Also where, by chance, no row shows it."""
    model = flatbuffer.read(dcn.float_model)
    rows = max(matrix.shape[0] for matrix in dcn.model.matrices)
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if flatbuffer.shape(tensor)[:1] == (rows,) and "FLOAT" in flatbuffer.type_name(tensor):
                tensor.buffer = 0
    lacking = flatbuffer.write(model)
    facts = parity.facts(dcn.file(), lacking, dcn.model)
    assert [shape[0] for shape in facts.lost] == [rows]
    good = dcn.measure(dcn.file())
    found = breaches(dcn, replace(good, file=facts))
    assert {breach.figure for breach in found} == {"trained numbers lost, shape", "parameters"}


def test_other_names_are_caught(dcn: Case) -> None:
    model = flatbuffer.read(dcn.file())
    model.signatureDefs[0].inputs[0].name = "age"
    facts = parity.facts(flatbuffer.write(model), dcn.float_model, dcn.model)
    found = breaches(dcn, replace(dcn.measure(dcn.file()), file=facts))
    assert [breach.figure for breach in found] == ["inputs"]


def test_scores_that_never_differ_are_caught(dcn: Case) -> None:
    good = dcn.measure(dcn.file())
    (runtime,) = good.runtimes
    flat = tuple(replace(output, agreement=None) for output in runtime.outputs)
    bad = replace(good, runtimes=(replace(runtime, outputs=flat),))
    assert {breach.figure for breach in breaches(dcn, bad)} == {"groups whose rows differ in score"}


def test_nan_is_caught(dcn: Case) -> None:
    good = dcn.measure(dcn.file())
    (runtime,) = good.runtimes
    first, *rest = runtime.outputs
    bad = replace(first, rows=replace(first.rows, max_abs=float("nan")))
    measured = replace(good, runtimes=(replace(runtime, outputs=(bad, *rest)),))
    assert "largest error" in {breach.figure for breach in breaches(dcn, measured)}


def test_nothing_measured_is_caught(dcn: Case) -> None:
    measured = replace(dcn.measure(dcn.file()), runtimes=())
    assert [breach.figure for breach in breaches(dcn, measured)] == ["number measured"]
