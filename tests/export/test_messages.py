"""Messages: whole values come through, and nothing that a hostile child sends does harm."""

import io
import json
import math
import os
import pickle
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from export import messages, runtime

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(min_size=2), inner),
    max_leaves=10,
)


def through(value: Any) -> Any:
    stream = io.BytesIO()
    messages.send(stream, value)
    stream.seek(0)
    return messages.receive(stream)


@given(plain | st.binary())
def test_values_come_through(value: Any) -> None:
    assert through(value) == value


@given(
    npst.arrays(
        npst.integer_dtypes(endianness="=") | npst.floating_dtypes(endianness="=", sizes=(32, 64)),
        npst.array_shapes(min_dims=0, min_side=0),
    )
)
def test_arrays_come_through(array: np.ndarray) -> None:
    back = through({"array": array})["array"]
    np.testing.assert_array_equal(back, array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)


@given(st.lists(st.binary()))
def test_texts_come_through(texts: list[bytes]) -> None:
    array = np.array([*texts, None], object)[:-1]
    assert through([array, b"after"])[0].tolist() == texts
    assert through([array, b"after"])[1] == b"after"


def test_paths_tuples_and_numpy_numbers() -> None:
    assert through((Path("a/b"), np.float32(0.5), np.array([b"x"]))) == ["a/b", 0.5, [b"x"]]
    assert math.isnan(through(float("nan")))


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1j: 1}, np.zeros(1, "M8[s]")])
def test_other_values_do_not_go(value: Any) -> None:
    with pytest.raises(TypeError):
        messages.send(io.BytesIO(), value)


def message(head: Any, blobs: bytes = b"") -> bytes:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return struct.pack("<QQ", len(text), len(blobs)) + text + blobs


@pytest.mark.parametrize(
    "sent",
    [
        b"\x01",
        struct.pack("<QQ", 5, 0) + b"1",
        struct.pack("<QQ", 2**63, 2**63),
        struct.pack("<QQ", messages.MAX_BYTES, 1),
        message(b"\xff\xfe"),
        message(b"[" * 100_000),
        message({"@": ["bytes", 5]}, b"1234"),
        message({"@": ["bytes", -1]}, b"1234"),
        message({"@": ["bytes", "4"]}, b"1234"),
        message({"@": ["array", [2], "O"]}, bytes(16)),
        message({"@": ["array", [2], "V"]}, bytes(16)),
        message({"@": ["array", [2**62, 4], "f"]}, bytes(16)),
        message({"@": ["array", [-1, -4], "f"]}, bytes(16)),
        message({"@": ["array", [1] * 100, "b"]}, bytes(1)),
        message({"@": ["array", "4", "f"]}, bytes(16)),
        message({"@": ["texts", [1], 4]}, struct.pack("<q", 5) + b"four"),
        message({"@": ["texts", [2], 4]}, struct.pack("<qq", -1, 5) + b"four"),
        message({"@": ["texts", [2**60], 4]}, bytes(16)),
        message({"@": ["global", "os", "system"]}),
        message({"@": []}),
        message({"@": 1}),
        message(b"1" * 5000),
    ],
)
def test_malformed_messages(sent: bytes) -> None:
    with pytest.raises(messages.MessageError):
        messages.receive(io.BytesIO(sent))


@given(st.binary())
def test_any_bytes(sent: bytes) -> None:
    """With lengths that fit, so that the JSON is reached."""
    with pytest.raises((messages.MessageError, EOFError)):
        messages.receive(io.BytesIO(sent[:15]))
    try:
        messages.receive(io.BytesIO(message(sent[:40], sent[40:])))
    except messages.MessageError:
        return
    json.loads(sent[:40])


@dataclass(frozen=True)
class Hostile(runtime.Runtime):
    """A child that has been taken over: `module` is the program that it runs."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", self.module]


class Payload:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_pickle_from_a_hostile_child_runs_nothing(tmp_path: Path) -> None:
    payload = pickle.dumps((True, Payload(tmp_path / "owned")))
    pickle.loads(pickle.dumps(Payload(tmp_path / "check")))
    assert (tmp_path / "check").is_dir(), "a pickle would have run it"
    program = f"import os; os.write(1, {payload!r})"
    with pytest.raises(runtime.RuntimeFailure, match="hostile crashed"):
        Hostile("hostile", program, "none").open(b"", limits=runtime.Limits())
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "reply", [1, [True], [1, 2], ["no", 1], {"0": True, "1": 1}, [True, [1]], [True, None]]
)
def test_replies_of_another_form(reply: Any) -> None:
    program = f"import os; os.write(1, {message(reply)!r}); os.write(1, {message(reply)!r})"
    with pytest.raises(runtime.RuntimeFailure):
        Hostile("hostile", program, "none").open(b"", limits=runtime.Limits())


def test_answer_that_is_too_long() -> None:
    first = message([True, None])
    program = (
        f"import os; os.write(1, {first!r} + {struct.pack('<QQ', 10_000, 0)!r} + b' ' * 10000)"
    )
    limits = runtime.Limits(answer=9999)
    with pytest.raises(runtime.RuntimeFailure, match="crashed"):
        Hostile("hostile", program, "none").open(b"", limits=limits)
