"""Parity of a model with named features: each output's scores against Keras's, on each runtime."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from export import flatbuffer
from export.agreement import Agreement, agreement
from export.features.model import FeatureModel, Rows
from export.features.rows import FeatureRows
from export.features.serving import SIGNATURE
from export.parity import Errors
from export.runtime import Runtime, RuntimeFailure, Session, on_each

Float32 = npt.NDArray[np.float32]
Scores = Mapping[str, Float32]

BATCH = 4096
SINGLES = 64
"""How many rows are scored again one at a time."""


@dataclass(frozen=True)
class Reference:
    """What a file is compared with: rows, and Keras's scores of them by output."""

    rows: FeatureRows
    scores: Scores
    odd: Scores


@dataclass(frozen=True)
class OutputParity:
    """One output's scores on one runtime, against Keras's, in the output's own unit.

    Attributes:
        output: its name.
        spread: standard deviation of Keras's scores: what errors are measured by.
        largest: Keras's largest absolute score.
        rows: errors in batches.
        odd: errors on odd ids and unknown numbers.
        plain_kernels: errors without XNNPACK.
        singles: rows scored one at a time, against the batches.
        agreement: of the order within groups, lists or all rows; None where no two rows of a
            group differ.
    """

    output: str
    spread: float
    largest: float
    rows: Errors
    odd: Errors
    plain_kernels: Errors
    singles: Errors
    agreement: Agreement | None


@dataclass(frozen=True)
class RuntimeParity:
    """One runtime's outputs against Keras's."""

    runtime: str
    version: str
    outputs: tuple[OutputParity, ...]


@dataclass(frozen=True)
class FileFacts:
    """What stands in the file.

    Attributes:
        bytes: its size.
        sha256: its checksum.
        ops: the op list.
        custom_ops: ops that are no builtins.
        inputs: the signature's inputs.
        outputs: the signature's outputs.
        lost: shapes of trained tables and kernels that have no constant in the float32 file.
        parameters: trained numbers in the file's graph.
        float32_parameters: those in the float32 file's.
        widened_tables: look-ups of a table that is first widened whole.
    """

    bytes: int
    sha256: str
    ops: tuple[flatbuffer.OpUse, ...]
    custom_ops: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    lost: tuple[tuple[int, ...], ...]
    parameters: int
    float32_parameters: int
    widened_tables: int


@dataclass(frozen=True)
class Parity:
    """Everything measured of one file; `runtimes_apart` is the largest difference an output."""

    recipe: str
    file: FileFacts
    runtimes: tuple[RuntimeParity, ...]
    runtimes_apart: Mapping[str, float]


def reference(model: FeatureModel, rows: FeatureRows) -> Reference:
    """Scores rows with the model itself."""
    return Reference(rows, model.score(rows.values), model.score(rows.odd))


def measure(
    recipe: str,
    content: bytes,
    float_model: bytes,
    model: FeatureModel,
    expected: Reference,
    runtimes: tuple[Runtime, ...],
    on_runtime: Callable[[str], None] = lambda name: None,
) -> Parity:
    """Measures a file on runtimes.

    Args:
        recipe: the recipe's name.
        content: the file.
        float_model: what the recipe was applied to.
        model: the trained model.
        expected: Keras's scores.
        runtimes: which to run.
        on_runtime: told each runtime's name before they begin.

    Raises:
        RuntimeFailure: a runtime can't load or run the file, or gives other shapes or NaN.
    """
    done = on_each(runtimes, lambda one: _one_runtime(content, expected, one), on_runtime)
    measured, answers = zip(*done, strict=True)
    return Parity(
        recipe=recipe,
        file=facts(content, float_model, model),
        runtimes=measured,
        runtimes_apart={
            name: float(np.ptp(np.stack([one[name] for one in answers]), axis=0).max())
            for name in model.outputs
        },
    )


def facts(content: bytes, float_model: bytes, model: FeatureModel) -> FileFacts:
    """Reads what stands in a file."""
    parsed, original = flatbuffer.read(content), flatbuffer.read(float_model)
    uses = flatbuffer.op_uses(parsed)
    (signature,) = (d for d in parsed.signatureDefs if flatbuffer.text(d.signatureKey) == SIGNATURE)
    return FileFacts(
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        ops=uses,
        custom_ops=tuple(use.op for use in uses if use.op.startswith("CUSTOM")),
        inputs=tuple(sorted(flatbuffer.text(entry.name) for entry in signature.inputs)),
        outputs=tuple(sorted(flatbuffer.text(entry.name) for entry in signature.outputs)),
        lost=_lost(model, original),
        parameters=flatbuffer.parameters(parsed)[SIGNATURE],
        float32_parameters=flatbuffer.parameters(original)[SIGNATURE],
        widened_tables=flatbuffer.widened_tables(parsed),
    )


def _lost(model: FeatureModel, float_model: flatbuffer.Model) -> tuple[tuple[int, ...], ...]:
    """Trained matrices that a converted file has no constant for.

    Sizes are compared, since the converter transposes kernels and scales them where a layer
    after them only multiplies.
    """
    sizes = {
        tensor.buffer: int(np.prod(flatbuffer.shape(tensor)))
        for graph in float_model.subgraphs
        for tensor in graph.tensors
        if flatbuffer.type_name(tensor) == "FLOAT32"
        and flatbuffer.raw(float_model, tensor) is not None
    }
    there = Counter(sizes.values())
    lost = []
    # Equal matrices (two layers of zeros, say) may be kept once.
    for matrix in {values.tobytes(): values for values in model.matrices}.values():
        if not there[matrix.size]:
            lost.append(matrix.shape)
        there[matrix.size] -= 1
    return tuple(lost)


def _one_runtime(
    content: bytes, expected: Reference, runtime: Runtime
) -> tuple[RuntimeParity, Scores]:
    rows = expected.rows
    with runtime.open(content, xnnpack=False) as plain:
        plain_scores = run(plain, rows.values, expected.scores)
    with runtime.open(content) as session:
        scores = run(session, rows.values, expected.scores)
        odd = run(session, rows.odd, expected.odd)
        sample = np.unique(np.linspace(0, rows.size - 1, SINGLES).astype(int))
        singles = [_taken(session, rows.values, expected.scores, index) for index in sample]
    outputs = tuple(
        OutputParity(
            output=name,
            spread=float(keras.astype(np.float64).std()),
            largest=float(np.abs(keras).max()),
            rows=_errors(keras, scores[name]),
            odd=_errors(expected.odd[name], odd[name]),
            plain_kernels=_errors(keras, plain_scores[name]),
            singles=_errors(scores[name][sample], np.concatenate([one[name] for one in singles])),
            agreement=_agreement(keras, scores[name], rows.groups),
        )
        for name, keras in expected.scores.items()
    )
    flat = {name: np.concatenate([scores[name], odd[name]]) for name in scores}
    return RuntimeParity(runtime.name, runtime.version, outputs), flat


def run(session: Session, rows: Rows, expected: Scores) -> Scores:
    """Scores rows in batches.

    Raises:
        RuntimeFailure: the runtime fails, or gives NaN, other shapes or other outputs.
    """
    size = len(next(iter(rows.values())))
    parts: dict[str, list[Float32]] = {name: [] for name in expected}
    for start in range(0, size, BATCH):
        batch = {name: values[start : start + BATCH] for name, values in rows.items()}
        answer = session.run(SIGNATURE, **batch)
        for name, wanted in expected.items():
            shape = wanted[start : start + BATCH].shape
            scores = answer.get(name)
            if scores is None or scores.shape != shape or not np.isfinite(scores).all():
                given = "nothing" if scores is None else f"{scores.shape}, or NaN"
                raise RuntimeFailure(f"{session.runtime.name}: {name} of {shape} gave {given}")
            parts[name].append(scores)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _taken(session: Session, rows: Rows, expected: Scores, index: int) -> Scores:
    one = slice(index, index + 1)
    return run(
        session,
        {name: values[one] for name, values in rows.items()},
        {name: scores[one] for name, scores in expected.items()},
    )


def _agreement(
    expected: Float32, actual: Float32, groups: npt.NDArray[np.object_] | None
) -> Agreement | None:
    try:
        return agreement(_grouped(expected, actual, groups))
    except ValueError:
        return None


def _grouped(
    expected: Float32, actual: Float32, groups: npt.NDArray[np.object_] | None
) -> Iterator[tuple[Float32, Float32]]:
    """What is ranked together: each list, each group's rows, or all rows."""
    if expected.ndim > 1:
        flat = (scores.reshape(len(scores), -1) for scores in (expected, actual))
        yield from zip(*flat, strict=True)
    elif groups is None:
        yield expected, actual
    else:
        _, numbers = np.unique(groups.astype(str), return_inverse=True)
        order = np.argsort(numbers, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1):
            yield expected[rows], actual[rows]


def _errors(expected: Float32, actual: Float32) -> Errors:
    difference = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return Errors(difference.size, float(difference.max()), float(difference.mean()))
