"""Metadata inside the file: what it is, what it was trained on, how it measured.

Two entries stand in the model's own `metadata` list:

* `TFLITE_METADATA`: TensorFlow Lite's standard `ModelMetadata` flatbuffer (identifier `M001`)
  with name, description, version and license, as Netron and Android's `MetadataExtractor`
  read it;
* `RANKER_METADATA`: UTF-8 JSON with everything, read back by `read` below.
"""

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
    own = {key: value for key, value in content.items() if key not in ("description", "license")}
    own["format_version"] = FORMAT_VERSION
    encoded = json.dumps(own, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    # The converter's notes go: its build would make equal models differ, and its lowest runtime
    # is that of the graph before the recipe.
    kept = []
    for name, data in ((STANDARD_ENTRY, _standard(content)), (JSON_ENTRY, encoded)):
        entry = schema.MetadataT()
        entry.name = name
        entry.buffer = rewriting.add_buffer(model, np.frombuffer(data, np.uint8))
        kept.append(entry)
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
    model = flatbuffer.read(model_bytes)
    for entry in model.metadata or []:
        if flatbuffer.text(entry.name) == JSON_ENTRY:
            data = np.asarray(model.buffers[entry.buffer].data, np.uint8).tobytes()
            try:
                content: dict[str, Any] = json.loads(data)
            except ValueError as error:
                raise MetadataError(f"{JSON_ENTRY} is not JSON: {error}") from error
            return content
    raise MetadataError(f"no {JSON_ENTRY} entry: the file was not written by this exporter")


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
