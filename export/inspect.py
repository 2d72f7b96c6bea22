"""`python -m export.inspect`: what stands in a `.tflite` file, whoever wrote it."""

import hashlib
import json
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from export import console, flatbuffer, metadata, versions

EXAMPLES = """\b
Examples:
  python -m export.inspect artifacts/ranker.tflite
  python -m export.inspect artifacts/ranker.tflite --json
  python -m export.inspect downloaded.tflite --json | jq .min_runtime
"""

FORMAT_VERSION = 1
STATED_MINIMUM = "min_runtime_version"
"""The entry in which TensorFlow's converter notes the first release that runs its file."""
TENSORS_SHOWN = 20
ROWS_SHOWN = 100
SIGNATURES_SHOWN = 8
REST = "graphs, metadata and the rest"
MAX_LOOKUPS = 1000

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class Port:
    """An input or output of a signature; -1 stands for a dimension of any size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """A signature's inputs and outputs, in the file's order."""

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Vocabulary:
    """The ids that one input of one signature knows: how many, and their bytes in all."""

    signature: str
    input: str
    ids: int
    bytes: int


@dataclass(frozen=True)
class Inspection:
    """What stands in a file.

    Attributes:
        bytes: its size.
        sha256: its checksum.
        recipe: how its numbers are stored, by its own metadata; None where it has none of ours.
        min_runtime: the first TensorFlow Lite release that has all its ops; None where one of
            them is not in `export.versions`.
        stated_min_runtime: what the converter noted, where its note is kept.
        signatures: what can be run.
        ops: by signature.
        unlisted_ops: ops whose first release is not known here; custom ops are such.
        vocabularies: known ids, by signature and input.
        bytes_by_role: adds up to the file.
        tensors: constants above 256 bytes, largest first.
        metadata: our own entry; None where there is none that can be read.
    """

    bytes: int
    sha256: str
    recipe: str | None
    min_runtime: str | None
    stated_min_runtime: str | None
    signatures: tuple[Signature, ...]
    ops: tuple[flatbuffer.OpUse, ...]
    unlisted_ops: tuple[str, ...]
    vocabularies: tuple[Vocabulary, ...]
    bytes_by_role: dict[str, int]
    tensors: tuple[flatbuffer.TensorSize, ...]
    metadata: dict[str, Any] | None


def inspect(content: bytes) -> Inspection:
    """Reads what stands in a file, without running it.

    Args:
        content: the file's bytes; nothing is taken for granted about them.

    Raises:
        FlatbufferError: they are no whole `.tflite` file.
    """
    with flatbuffer.whole():
        model = flatbuffer.read(content)
        uses = flatbuffer.op_uses(model)
        tensors = flatbuffer.tensor_sizes(model)
        roles = Counter({size.role: 0 for size in tensors})
        for size in tensors:
            roles[size.role] += size.bytes
        # Constants may overlap in a hostile file; in all others something is left.
        roles[REST] = len(content) - roles.total()
        own = _own(model)
        stated = metadata.entry(model, STATED_MINIMUM)
        recipe = (own or {}).get("recipe")
        return Inspection(
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            recipe=recipe if isinstance(recipe, str) else None,
            min_runtime=versions.minimum(uses),
            stated_min_runtime=flatbuffer.text(stated and stated.rstrip(b"\0")) or None,
            signatures=_signatures(model),
            ops=uses,
            unlisted_ops=tuple(
                sorted({f"{u.op} {u.version}" for u in uses if versions.release(u) is None})
            ),
            vocabularies=_vocabularies(model),
            bytes_by_role=dict(roles),
            tensors=tensors,
            metadata=own,
        )


def _own(model: flatbuffer.Model) -> dict[str, Any] | None:
    try:
        return metadata.own(model)
    except metadata.MetadataError:
        return None


def _signatures(model: flatbuffer.Model) -> tuple[Signature, ...]:
    found = []
    for definition in model.signatureDefs or []:
        tensors = model.subgraphs[definition.subgraphIndex].tensors
        inputs, outputs = (
            tuple(_port(flatbuffer.text(m.name), tensors[m.tensorIndex]) for m in maps or [])
            for maps in (definition.inputs, definition.outputs)
        )
        found.append(Signature(flatbuffer.text(definition.signatureKey), inputs, outputs))
    return tuple(found)


def _port(name: str, tensor: flatbuffer.Tensor) -> Port:
    dynamic = tensor.shapeSignature
    shape = flatbuffer.shape(tensor) if dynamic is None else tuple(int(d) for d in dynamic)
    return Port(name, flatbuffer.type_name(tensor), shape)


def _vocabularies(model: flatbuffer.Model) -> tuple[Vocabulary, ...]:
    inputs = [
        (signature.name, port.name)
        for signature in _signatures(model)
        for port in signature.inputs
        if port.dtype == "STRING"
    ]
    if len(inputs) > MAX_LOOKUPS:
        raise flatbuffer.FlatbufferError(f"more than {MAX_LOOKUPS:,} inputs of strings")
    found = []
    for signature, name in inputs:
        ids = flatbuffer.vocabulary(model, signature, name)
        if ids:
            found.append(Vocabulary(signature, name, len(ids), sum(map(len, ids))))
    return tuple(found)


def document(inspection: Inspection) -> dict[str, Any]:
    """The JSON document: the fields of `Inspection`, and `format_version`."""
    return {"format_version": FORMAT_VERSION, **asdict(inspection)}


def tables(inspection: Inspection) -> list[Table]:
    """What people read."""
    return [
        _facts(inspection),
        _ports(inspection),
        _sizes(inspection),
        _ops(inspection),
    ]


def _table(title: str, *headings: str, right: tuple[str, ...] = ()) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        justify = "right" if heading in right else "left"
        table.add_column(_text(heading), justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def _row(table: Table, *cells: Any) -> None:
    if table.row_count < ROWS_SHOWN:
        table.add_row(*map(_text, cells))
    elif table.row_count == ROWS_SHOWN:
        table.add_row("… --json has all")


def _text(value: Any) -> Text:
    """As it stands: neither markup nor what could steer the terminal."""
    return Text(console.printable(str(value)))


def _facts(inspection: Inspection) -> Table:
    table = _table("file", "what", "value")
    _row(table, "bytes", f"{inspection.bytes:,}")
    _row(table, "SHA-256", inspection.sha256)
    _row(table, "recipe", inspection.recipe or "unknown: not written by this exporter")
    unlisted = f"unknown, for its {', '.join(inspection.unlisted_ops[:5])}"
    _row(table, "runs on TensorFlow Lite from", inspection.min_runtime or unlisted)
    if inspection.stated_min_runtime:
        _row(table, "the converter says from", inspection.stated_min_runtime)
    for key, value in (inspection.metadata or {}).items():
        if key not in ("recipe", "signatures", "vocabulary_sizes"):
            _row(table, key, value if isinstance(value, str) else json.dumps(value))
    return table


def _ports(inspection: Inspection) -> Table:
    table = _table(
        "signatures", "signature", "", "name", "type", "shape", "known ids", right=("known ids",)
    )
    known = {(v.signature, v.input): f"{v.ids:,}" for v in inspection.vocabularies}
    for signature in inspection.signatures:
        for kind, ports in (("in", signature.inputs), ("out", signature.outputs)):
            for port in ports:
                shape = [size if size >= 0 else "any" for size in port.shape]
                ids = known.get((signature.name, port.name), "") if kind == "in" else ""
                shown = f"[{', '.join(map(str, shape))}]"
                _row(table, signature.name, kind, port.name, port.dtype, shown, ids)
    return table


def _sizes(inspection: Inspection) -> Table:
    table = _table(
        "sizes", "constant", "role", "type", "shape", "bytes", "share", right=("bytes", "share")
    )
    for tensor in inspection.tensors[:TENSORS_SHOWN]:
        share = f"{tensor.bytes / inspection.bytes:.1%}"
        shape = list(tensor.shape)
        _row(table, tensor.name, tensor.role, tensor.dtype, shape, f"{tensor.bytes:,}", share)
    more = len(inspection.tensors) - TENSORS_SHOWN
    if more > 0:
        _row(table, f"… and {more:,} smaller", "", "", "", "", "")
    for role, size in inspection.bytes_by_role.items():
        _row(table, "all", role, "", "", f"{size:,}", f"{size / inspection.bytes:.1%}")
    return table


def _ops(inspection: Inspection) -> Table:
    names = sorted({use.signature for use in inspection.ops})[:SIGNATURES_SHOWN]
    table = _table("ops", "op", "version", "from", *names, right=("version", "from", *names))
    counts = {(use.signature, use.op, use.version): use.count for use in inspection.ops}
    for op, version in sorted({(use.op, use.version) for use in inspection.ops}):
        release = versions.release(flatbuffer.OpUse("", op, version, 1)) or "unknown"
        _row(table, op, version, release, *(counts.get((n, op, version), 0) for n in names))
    return table


@app.command(epilog=EXAMPLES)
def main(
    file: Annotated[Path, typer.Argument(help="A .tflite file, from here or anywhere.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output.")
    ] = False,
) -> None:
    """Shows a file's signatures, ops, sizes, recipe, metadata and vocabularies.

    Nothing in the file is run, and nothing in it is trusted. Exit codes: 0 shown, 2 wrong use or
    a damaged file.
    """
    try:
        inspection = inspect(flatbuffer.content(file))
    except flatbuffer.FlatbufferError as error:
        raise console.fail(str(error)) from error
    if as_json:
        typer.echo(json.dumps(document(inspection), indent=1))
        return
    for table in tables(inspection):
        Console().print(table)


if __name__ == "__main__":
    sys.exit(app())
