"""Runtimes: each in a process of its own, whose end is only an error here."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from export import runtime, serving
from model import ranking
from tests.support import NEWEST, Exported, warm


def test_installed_runtimes_are_the_oldest_first() -> None:
    names = [one.name for one in runtime.installed()]
    assert names[-2:] == ["litert", "tensorflow"]
    # Its wheels end at Python 3.11.
    assert ("tflite-runtime" in names) == (sys.version_info < (3, 12))


def test_unknown_runtime_names_the_known_ones() -> None:
    with pytest.raises(runtime.RuntimeUnavailableError, match=r"'onnx'.*litert"):
        runtime.named("onnx")


def test_runtime_that_is_not_installed() -> None:
    missing = runtime.Runtime("none", "none.interpreter", "no-such-distribution")
    assert not missing.installed


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\x1c\0\0\0TFL3" + bytes(500)])
def test_garbage_does_not_load(runtime_name: str, content: bytes) -> None:
    with pytest.raises(runtime.RuntimeFailure):
        warm(runtime_name).open(content)


def test_truncated_file_does_not_load(exported: Exported, runtime_name: str) -> None:
    file = exported.files["int8"]
    with pytest.raises(runtime.RuntimeFailure):
        warm(runtime_name).open(file[: len(file) // 2])


def test_missing_file_does_not_load(tmp_path: Path) -> None:
    with pytest.raises(runtime.RuntimeFailure, match="litert can't load"):
        runtime.named(NEWEST).open(tmp_path / "none.tflite")


def test_path_and_bytes_give_the_same(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "ranker.tflite"
    path.write_bytes(exported.files["int8"])
    scores = []
    for source in (path, exported.files["int8"]):
        with runtime.named(NEWEST).open(source) as session:
            answer = session.run("score", user_id=["42"], movie_title=["Speed (1994)"])
            scores.append(float(answer["score"][0]))
    assert scores[0] == scores[1]


def test_unknown_signature_names_the_known_ones(session: runtime.Session) -> None:
    with pytest.raises(runtime.RuntimeFailure, match=r"no signature 'serve'.*score"):
        session.run("serve", user_id=["1"])


def test_wrong_input_is_refused_and_the_session_lives(session: runtime.Session) -> None:
    with pytest.raises(runtime.RuntimeFailure, match="litert: score failed"):
        session.run("score", user=["1"], movie_title=["Speed (1994)"])
    assert session.run("score", user_id=["1"], movie_title=["Speed (1994)"])["score"].size == 1


@pytest.mark.parametrize("ids", [1, 1_000_000])
def test_killed_child_is_named_and_the_parent_lives(exported: Exported, ids: int) -> None:
    """With few ids, and with more than the pipe to the child holds."""
    with runtime.named(NEWEST).open(exported.files["int8"]) as session:
        os.kill(session._process.pid, signal.SIGKILL)
        session._process.wait()
        with pytest.raises(runtime.RuntimeFailure, match="litert crashed \\(SIGKILL\\)"):
            session.run("score", user_id=["1"] * ids, movie_title=["Speed (1994)"] * ids)


def test_child_killed_at_work(exported: Exported) -> None:
    with runtime.named(NEWEST).open(exported.files["int8"]) as session:
        os.kill(session._process.pid, signal.SIGSTOP)
        os.kill(session._process.pid, signal.SIGKILL)
        with pytest.raises(runtime.RuntimeFailure, match="SIGKILL"):
            session.run("score", user_id=["1"], movie_title=["Speed (1994)"])


def test_closing_ends_the_child(exported: Exported) -> None:
    session = runtime.named(NEWEST).open(exported.files["int8"])
    assert session._process.poll() is None
    session.close()
    assert session._process.poll() == 0


def test_times_and_memory(session: runtime.Session, exported: Exported) -> None:
    users, titles = runtime.utf8(["42"] * 100), exported.reference.catalogue[:100]
    for measured in (session.times, session.invoke_times):
        seconds = measured("score", 5, user_id=users, movie_title=titles)
        assert seconds.shape == (5,)
        assert (seconds > 0).all() and seconds.max() < 10
    # An interpreter with NumPy takes tens of megabytes.
    assert 10e6 < session.resident() < 10e9


def test_texts_go_as_utf8() -> None:
    texts = ["Amélie", "千と千尋", "🎬", "", "a\0"]
    assert runtime.utf8(texts).tolist() == [text.encode() for text in texts]


def test_one_at_a_time_is_the_same_as_together(
    session: runtime.Session, exported: Exported
) -> None:
    pairs = exported.reference.test
    inputs = {"user_id": pairs.users[:50], "movie_title": pairs.candidates[:50]}
    together = session.run("score", **inputs)["score"]
    for index in range(50):
        one = {name: values[index : index + 1] for name, values in inputs.items()}
        # A batch of one sums in another order: tens of float32 steps of 2.4e-7 near 4.
        assert session.run("score", **one)["score"][0] == pytest.approx(together[index], abs=1e-5)


texts = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=25)
@given(data=st.data())
def test_any_text_is_looked_up_as_keras_does(
    exported: Exported, keras_model: ranking.MovielensModel, data: st.DataObject
) -> None:
    """Known ids, known ids with something before or after them, and any other text."""

    def of(vocabulary: tuple[str, ...]) -> st.SearchStrategy[str]:
        known = st.sampled_from(vocabulary)
        near = st.builds("{}{}{}".format, texts, known, texts)
        return known | near | texts | known.map(str.upper) | known.map(lambda id_: id_ + "\0")

    ranker = exported.ranker
    users = data.draw(st.lists(of(ranker.users.vocabulary), min_size=1, max_size=40))
    titles = data.draw(
        st.lists(of(ranker.candidates.vocabulary), min_size=len(users), max_size=len(users))
    )
    inputs = {serving.USER: runtime.utf8(users), serving.CANDIDATE: runtime.utf8(titles)}
    keras = keras_model({name: tf.constant(ids, tf.string) for name, ids in inputs.items()})
    with warm(NEWEST).open(exported.files["float32"]) as session:
        scores = session.run("score", **inputs)["score"]
    # float32 near 4 has steps of 2.4e-7; sums of 256 terms in another order take some tens.
    np.testing.assert_allclose(scores, keras.numpy().reshape(-1), rtol=0, atol=1e-5)


class Endless(tf.Module):
    """A graph that loops for ever where it is asked to, and one that takes memory."""

    @tf.function(input_signature=[tf.TensorSpec([1], tf.int32, "stop")])
    def loop(self, stop: tf.Tensor) -> dict[str, tf.Tensor]:
        (count,) = tf.while_loop(
            lambda i: tf.not_equal(i[0], stop[0]), lambda i: [1 - i], [tf.zeros([1], tf.int32)]
        )
        return {"count": count}

    @tf.function(input_signature=[tf.TensorSpec([1], tf.int32, "size")])
    def fill(self, size: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"zeros": tf.reduce_sum(tf.fill(size, 1.0), keepdims=True)}


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    module = Endless()
    signatures = {
        "loop": module.loop.get_concrete_function(),
        "fill": module.fill.get_concrete_function(),
    }
    folder = str(tmp_path_factory.mktemp("endless"))
    tf.saved_model.save(module, folder, signatures=signatures)
    return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def test_call_that_takes_too_long(endless: bytes) -> None:
    limits = runtime.Limits(seconds=2.0)
    with (
        runtime.named(NEWEST).open(endless, limits=limits) as session,
        pytest.raises(runtime.RuntimeFailure, match="took longer than 2 s, and was ended"),
    ):
        session.run("loop", stop=np.array([5], np.int32))


def test_call_that_takes_too_much_memory(endless: bytes) -> None:
    """4 GB where 1 GB is allowed; a thousand numbers are."""
    limits = runtime.Limits(memory=2**30)
    with runtime.named(NEWEST).open(endless, limits=limits) as session:
        assert session.run("fill", size=np.array([1000], np.int32))["zeros"].tolist() == [1000]
        with pytest.raises(runtime.RuntimeFailure, match="fill failed"):
            session.run("fill", size=np.array([2**30], np.int32))


@pytest.mark.parametrize("text", ["\ud800", "Am\udce9lie", "x" * 10**6 + "\udfff"])
def test_lone_surrogates_are_no_ids(session: runtime.Session, text: str) -> None:
    with pytest.raises(runtime.IdError, match=r"'.{1,70}' is no valid Unicode") as error:
        session.run("score", user_id=["1"], movie_title=[text])
    assert str(error.value).isascii()
