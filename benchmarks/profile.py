"""A profile by op where a runtime's Python class gives none: graphs cut short after each op.

The difference of two neighbours' times is what the op costs, as far as XNNPACK leaves ops apart:
it may fuse one with the next, whose line then shows both, or less than nothing.
"""

from dataclasses import dataclass
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from benchmarks.timing import Key, Task, Times, interleaved
from export import flatbuffer
from export.runtime import Runtime, RuntimeFailure, Session

ROUNDS = 9


@dataclass(frozen=True)
class OpTime:
    """An op, or a few, in the order of the graph: milliseconds up to its end, and its own."""

    op: str
    upto: float
    alone: float


@dataclass(frozen=True)
class Profile:
    """One signature of one file on one runtime, op by op."""

    file: str
    runtime: str
    signature: str
    candidates: int
    ops: list[OpTime]


def cut(model_bytes: bytes, signature: str, ops: int) -> tuple[bytes, str] | None:
    """A model whose only signature ends early.

    Args:
        model_bytes: the whole model.
        signature: which to keep.
        ops: how many of its ops.

    Returns:
        The model, and the last op's name; None where nothing could come out yet. Whatever no op
        reads comes out, so that nothing is left out as useless.
    """
    model = flatbuffer.read(model_bytes)
    names = flatbuffer.signature_names(model)
    graph = model.subgraphs[next(n for n, name in names.items() if name == signature)]
    graph.operators = graph.operators[:ops]
    read = {tensor for op in graph.operators for tensor in flatbuffer.inputs(op)}
    ends = [
        int(tensor)
        for op in graph.operators
        if not _prepares(model, graph, op)
        for tensor in op.outputs
        if int(tensor) not in read
    ]
    if not ends or _prepares(model, graph, graph.operators[-1]):
        return None
    graph.outputs = ends
    kept = next(d for d in model.signatureDefs if flatbuffer.text(d.signatureKey) == signature)
    kept.outputs = []
    for number, tensor in enumerate(ends):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = f"output_{number}", tensor
        kept.outputs.append(entry)
    model.signatureDefs = [kept]
    return flatbuffer.write(model), flatbuffer.op_name(model, graph.operators[-1])


def _prepares(model: flatbuffer.Model, graph: flatbuffer.Subgraph, op: flatbuffer.Operator) -> bool:
    """Whether an op reads constants alone: it is done at load, or makes a hash table."""
    tensors = [graph.tensors[index] for index in flatbuffer.inputs(op)]
    return all(flatbuffer.raw(model, tensor) is not None for tensor in tensors)


def by_op(
    model: bytes, runtime: Runtime, signature: str, candidates: int, inputs: dict[str, Any]
) -> list[OpTime]:
    """Times each prefix of a signature's ops.

    Args:
        model: the whole file.
        runtime: which to run.
        signature: of the file.
        candidates: how many the inputs hold.
        inputs: of the signature.
    """
    parsed = flatbuffer.read(model)
    numbers = {name: number for number, name in flatbuffer.signature_names(parsed).items()}
    count = len(parsed.subgraphs[numbers[signature]].operators)
    titles: dict[str, str] = {}
    sessions: list[Session] = []
    tasks = []
    try:
        for ops in range(1, count + 1):
            shorter = cut(model, signature, ops)
            session = shorter and _working(runtime, shorter[0], signature, inputs)
            if shorter and session:
                titles[str(ops)] = shorter[1]
                sessions.append(session)
                key = Key(str(ops), runtime.name, signature, candidates, "graph")
                tasks.append(Task(key, session, inputs))
        times = interleaved(tasks, ROUNDS)
    finally:
        for session in sessions:
            session.close()
    return _differences(times, titles)


def _differences(times: dict[Key, Times], titles: dict[str, str]) -> list[OpTime]:
    found, before = [], 0.0
    for key, one in times.items():
        least = min(one.rounds)  # Neighbours only ever add.
        found.append(OpTime(titles[key.file], least, least - before))
        before = least
    return found


def _working(
    runtime: Runtime, model: bytes, signature: str, inputs: dict[str, Any]
) -> Session | None:
    """A session of a cut graph, or None where the runtime can't run it cut just there."""
    session = runtime.open(model)
    try:
        session.run(signature, **inputs)
    except RuntimeFailure:
        session.close()
        return None
    return session
