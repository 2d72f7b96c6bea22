"""Metadata inside the file: what it is, what it was trained on, how it measured.

Two entries stand in the model's own `metadata` list:

* `TFLITE_METADATA`: TensorFlow Lite's standard `ModelMetadata` flatbuffer (identifier `M001`)
  with name, description, version and license, as Netron and Android's `MetadataExtractor`
  read it;
* `RANKER_METADATA`: UTF-8 JSON with everything, read back by `read` below.
"""

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from export import flatbuffer, rewriting

FORMAT_VERSION = 1
STANDARD_ENTRY = "TFLITE_METADATA"
JSON_ENTRY = "RANKER_METADATA"

# Slots of ModelMetadata in TensorFlow Lite Support's metadata_schema.fbs.
_NAME, _DESCRIPTION, _VERSION, _LICENSE, _SLOTS = 0, 1, 2, 5, 8


class MetadataError(ValueError):
    """The file holds no metadata of ours, or unreadable metadata."""


def versions() -> dict[str, str]:
    """What a file was made with."""
    return {name: importlib.metadata.version(name) for name in ("tensorflow", "ranking-exporter")}


def add(model_bytes: bytes, content: Mapping[str, Any]) -> bytes:
    """Puts metadata into a model.

    Args:
        model_bytes: a `.tflite` without our metadata.
        content: JSON-ready; `name` and `version` go to both entries, `description` and
            `license` to the standard one alone. `format_version` is added.

    Returns:
        The model with both entries.
    """
    model = flatbuffer.read(model_bytes)
    ours = {key: value for key, value in content.items() if key not in ("description", "license")}
    ours["format_version"] = FORMAT_VERSION
    encoded = json.dumps(ours, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    # The converter's notes go: its build would make equal models differ, and its lowest runtime
    # is that of the graph before the recipe.
    kept = []
    for name, data in ((STANDARD_ENTRY, _standard(content)), (JSON_ENTRY, encoded)):
        one = schema.MetadataT()
        one.name = name
        one.buffer = rewriting.add_buffer(model, np.frombuffer(data, np.uint8))
        kept.append(one)
    model.metadata = kept
    model.description = None
    rewriting.share_buffers(model)
    return flatbuffer.write(model)


def read(model_bytes: bytes) -> dict[str, Any]:
    """The JSON entry of a file that `add` wrote.

    Raises:
        MetadataError: there is none, or it is not JSON.
        FlatbufferError: not a `.tflite` file.
    """
    return own(flatbuffer.read(model_bytes))


def own(model: flatbuffer.Model) -> dict[str, Any]:
    """The JSON entry of a parsed model, as `read` gives it.

    Raises:
        MetadataError: there is none, or it is not JSON.
    """
    data = entry(model, JSON_ENTRY)
    if data is None:
        raise MetadataError(f"no {JSON_ENTRY} entry: the file was not written by this exporter")
    try:
        content = json.loads(data)
        # Python reads numbers beyond JSON's, such as NaN, that nobody else would read again.
        json.dumps(content, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"{JSON_ENTRY} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise MetadataError(f"{JSON_ENTRY} is not JSON of ours")
    return content


def entry(model: flatbuffer.Model, name: str) -> bytes | None:
    """What stands in the model's `metadata` list under a name; None where nothing does."""
    for one in model.metadata or []:
        if flatbuffer.text(one.name) == name:
            data = model.buffers[one.buffer].data
            return b"" if data is None else np.asarray(data, np.uint8).tobytes()
    return None


def _standard(content: Mapping[str, Any]) -> bytes:
    builder = flatbuffers.Builder(512)
    slots = {
        slot: builder.CreateString(str(content.get(key, "")))
        for slot, key in (
            (_NAME, "name"),
            (_DESCRIPTION, "description"),
            (_VERSION, "version"),
            (_LICENSE, "license"),
        )
    }
    builder.StartObject(_SLOTS)
    for slot, offset in slots.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    builder.Finish(builder.EndObject(), file_identifier=b"M001")
    return bytes(builder.Output())
