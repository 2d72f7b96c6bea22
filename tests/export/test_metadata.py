"""Metadata inside the file, as we and as TensorFlow Lite's own readers find it."""

from collections.abc import Mapping

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import number_types
from hypothesis import given
from hypothesis import strategies as st

from export import flatbuffer, metadata
from tests.support import Exported, warm

CONTENT = {
    "name": "a ranker",
    "description": "scores pairs – größer ist besser 🎬",
    "version": "1.2.3",
    "license": "Apache-2.0",
    "recipe": "int8",
}


@pytest.fixture(scope="module")
def file(exported: Exported) -> bytes:
    return metadata.add(exported.files["int8"], CONTENT)


def in_json(content: Mapping[str, object]) -> dict[str, object]:
    """What the JSON entry holds: description and licence stand in the standard one alone."""
    own = {key: text for key, text in content.items() if key not in ("description", "license")}
    return {"format_version": metadata.FORMAT_VERSION, **own}


def test_round_trip(file: bytes) -> None:
    assert metadata.read(file) == in_json(CONTENT)


def entry(file: bytes, name: str) -> bytes:
    model = flatbuffer.read(file)
    (found,) = (e for e in model.metadata if flatbuffer.text(e.name) == name)
    return np.asarray(model.buffers[found.buffer].data, np.uint8).tobytes()


def test_standard_entry(file: bytes) -> None:
    """ModelMetadata's fields by their slots in TensorFlow Lite Support's schema."""
    content = entry(file, "TFLITE_METADATA")
    assert content[4:8] == b"M001"
    root = flatbuffers.encode.Get(number_types.UOffsetTFlags.packer_type, content, 0)
    table = flatbuffers.table.Table(bytearray(content), root)

    def text(slot: int) -> str:
        offset = table.Offset(4 + 2 * slot)
        return str(table.String(table.Pos + offset).decode())

    assert text(0) == CONTENT["name"]
    assert text(1) == CONTENT["description"]
    assert text(2) == CONTENT["version"]
    assert text(5) == CONTENT["license"]


def test_nothing_else_is_kept(file: bytes) -> None:
    """The converter's notes name its build, and the lowest runtime of another graph."""
    names = [flatbuffer.text(e.name) for e in flatbuffer.read(file).metadata]
    assert sorted(names) == [metadata.JSON_ENTRY, metadata.STANDARD_ENTRY]


def test_scores_do_not_change(exported: Exported, file: bytes, runtime_name: str) -> None:
    pairs = exported.reference.test
    scores = []
    for content in (file, exported.files["int8"]):
        with warm(runtime_name).open(content) as session:
            inputs = {"user_id": pairs.users, "movie_title": pairs.candidates}
            scores.append(session.run("score", **inputs)["score"])
    assert np.array_equal(scores[0], scores[1])


def test_file_without_metadata(exported: Exported) -> None:
    with pytest.raises(metadata.MetadataError, match="not written by this exporter"):
        metadata.read(exported.files["int8"])


def test_unreadable_metadata(file: bytes) -> None:
    model = flatbuffer.read(file)
    (found,) = (e for e in model.metadata if flatbuffer.text(e.name) == metadata.JSON_ENTRY)
    model.buffers[found.buffer].data = np.frombuffer(b'{"recipe": ', np.uint8)
    with pytest.raises(metadata.MetadataError, match="not JSON"):
        metadata.read(flatbuffer.write(model))


texts = st.text(st.characters(codec="utf-8"))
keys = texts.filter(lambda key: key not in ("format_version", *CONTENT))


@given(st.dictionaries(keys, texts | st.integers() | st.lists(texts, max_size=3), max_size=5))
def test_any_text_round_trips(content: dict[str, object]) -> None:
    # A model without graphs: a whole one takes half a second to pack.
    model = schema.ModelT()
    model.subgraphs, model.buffers = [], [schema.BufferT()]
    full = {**CONTENT, **content}
    assert metadata.read(metadata.add(flatbuffer.write(model), full)) == in_json(full)
