"""Scoring from the shell: Keras's scores for any ids, and nothing worse than an error."""

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from export import conversion, flatbuffer, gate, runtime, score, serving
from model import ranking
from tests.mutation import mutated
from tests.support import NEWEST, Exported, warm

MUTATIONS = 1000
USER, TITLE = "42", "Speed (1994)"
# Every kind of character, half characters too, and ids of a megabyte.
any_text = st.text(st.characters(exclude_categories=()), max_size=40)


def run(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(score.app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def file(exported: Exported, tmp_path: Path) -> Path:
    path = tmp_path / "ranker.tflite"
    path.write_bytes(exported.files["int8"])
    return path


def keras(ranker: serving.Ranker, user: str, titles: list[str]) -> np.ndarray:
    """What the trained parts score, in NumPy's double precision."""
    rows = []
    for tower, ids in ((ranker.users, [user] * len(titles)), (ranker.candidates, titles)):
        number = {one: index for index, one in enumerate(tower.vocabulary, 1)}
        rows.append(tower.table[[number.get(one, 0) for one in ids]].astype(np.float64))
    values = np.concatenate(rows, axis=1)
    for layer in ranker.dense:
        values = values @ layer.kernel + layer.bias
        values = np.maximum(values, 0) if layer.relu else values
    return values.reshape(-1)


def test_candidates_come_best_first(file: Path, exported: Exported) -> None:
    titles = [TITLE, "no such title", "Fargo (1996)", TITLE]
    code, output, _ = run(file, "--user", USER, *titles, "--json")
    assert code == 0
    told = json.loads(output)
    assert (told["user"], told["user_known"], told["runtime"]) == (USER, True, NEWEST)
    scores = [one["score"] for one in told["scores"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    expected = dict(zip(titles, keras(exported.ranker, USER, titles), strict=True))
    for one in told["scores"]:
        assert one["known"] == (one["candidate"] != "no such title")
        assert abs(one["score"] - expected[one["candidate"]]) <= gate.LIMITS["int8"].max_abs


def test_recommended_are_the_best_of_all(file: Path, exported: Exported) -> None:
    code, output, _ = run(file, "--user", USER, "--recommend", "5", "--json")
    assert code == 0
    told = json.loads(output)["scores"]
    titles = list(exported.ranker.candidates.vocabulary)
    _, all_scores, _ = run(file, "--user", USER, *titles, "--json")
    assert told == json.loads(all_scores)["scores"][:5]


def test_unknown_ids_are_marked(file: Path) -> None:
    code, output, _ = run(file, "--user", "nobody\x1b[2J", TITLE, "\u202eodd")
    assert code == 0
    assert "the file doesn't know" in " ".join(output.split())
    marked = [line for line in output.splitlines() if "(unknown)" in line]
    assert len(marked) == 1 and "odd" in marked[0]
    assert not set("\x1b\u202e") & set(output)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--user", USER], "--recommend K"),
        (["--user", USER, TITLE, "--recommend", "3"], "--recommend K"),
        (["--user", "\ud800", TITLE], "'\\ud800' is no valid Unicode"),
        (["--user", USER, TITLE, "--runtime", "onnx"], "'onnx'"),
        (["--user", USER, TITLE, "--verify", "none.json"], "can't read none.json"),
        (["--user", USER, TITLE, "--verify", "pyproject.toml"], "is no parity.json"),
    ],
)
def test_wrong_use_is_one_line(file: Path, arguments: list[str], part: str) -> None:
    code, output, errors = run(file, *arguments)
    assert (code, output) == (2, "")
    assert len(errors.splitlines()) == 1 and part in errors


def test_verification(file: Path, tmp_path: Path) -> None:
    parity_json = tmp_path / "parity.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    parity_json.write_text(json.dumps({"file": {"sha256": digest}}))
    arguments = ("--user", USER, TITLE, "--verify", parity_json)
    assert run(file, *arguments)[0] == 0
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    code, _, errors = run(file, *arguments)
    assert code == 2 and "is not the one that" in errors


def test_file_with_other_signatures(exported: Exported, tmp_path: Path, file: Path) -> None:
    model = flatbuffer.read(exported.files["int8"])
    named = {flatbuffer.text(d.signatureKey): d for d in model.signatureDefs}
    named["score"].inputs[0].name = b"other"
    model.signatureDefs = [named["score"], named["rank"]]
    file.write_bytes(flatbuffer.write(model))
    code, _, errors = run(file, "--user", USER, TITLE)
    assert code == 2 and "the file's score takes other" in errors
    code, _, errors = run(file, "--user", USER, "--recommend", "3")
    assert code == 2 and "no signature recommend; it has: rank, score" in errors


def test_nan_is_no_score(exported: Exported, file: Path) -> None:
    layer = exported.ranker.dense[-1]
    nan = replace(layer, bias=np.full(1, np.nan, np.float32))
    ranker = replace(exported.ranker, dense=(*exported.ranker.dense[:-1], nan))
    file.write_bytes(conversion.of_ranker(ranker))
    code, _, errors = run(file, "--user", USER, TITLE)
    assert code == 2 and "not finite" in errors


@settings(max_examples=60)
@given(user=any_text, titles=st.lists(any_text, min_size=1, max_size=8))
def test_any_ids(
    small_ranker: serving.Ranker, small_model: bytes, user: str, titles: list[str]
) -> None:
    check_ids(small_ranker, small_model, user, titles)


@pytest.mark.parametrize(
    "odd",
    [
        *("", "\0", "1\0", "\0" + "1", "x\0y", " 1", "1 ", "[UNK]", "\ufeff1"),
        *("x" * 10**6, "é" * 500_000, "\0" * 10**6, "سواق", "\u202e42", "e\u0301", "é", "👩‍👩‍👧"),
        *("\ud800", "\udfff" * 10, "1\udc80", "\U0010ffff", "\ufffe", "\ufffd"),
    ],
)
def test_odd_ids_on_both_sides(small_ranker: serving.Ranker, small_model: bytes, odd: str) -> None:
    check_ids(small_ranker, small_model, odd, [odd, "x", odd, "Speed (1994)", odd + "\0"])


def check_ids(ranker: serving.Ranker, model: bytes, user: str, titles: list[str]) -> None:
    """The right scores, best first, or an error about the half characters that there are."""
    halves = any("\ud800" <= c <= "\udfff" for text in (user, *titles) for c in text)
    with warm(NEWEST).open(model) as session:
        if halves:
            with pytest.raises(runtime.IdError):
                score.score(session, flatbuffer.read(model), user, titles)
            return
        told = score.score(session, flatbuffer.read(model), user, titles)
    assert sorted(one.candidate for one in told.scores) == sorted(titles)
    assert told.user_known == (user in ranker.users.vocabulary)
    expected = dict(zip(titles, keras(ranker, user, titles), strict=True))
    # Weights are the file's own int8 ones; scores of this random ranker spread over tens.
    for one in told.scores:
        assert one.known == (one.candidate in ranker.candidates.vocabulary)
        assert abs(one.score - expected[one.candidate]) < 0.2
    scores = [one.score for one in told.scores]
    assert scores == sorted(scores, reverse=True)


def vocabulary_of(ids: list[str], ranker: serving.Ranker) -> serving.Ranker:
    """The ranker with these titles."""
    lookup = tf.keras.layers.StringLookup(vocabulary=ids, mask_token=None)
    table = np.random.default_rng(1).standard_normal((len(ids) + 1, 4), np.float32)
    # Keras's own word: it drops NULs at the end, as NumPy's arrays of texts do.
    known = tuple(lookup.get_vocabulary()[1:])
    return replace(ranker, candidates=serving.Tower(lookup, known, table))


@pytest.mark.parametrize(
    "ids",
    [
        ["x"],
        ["", " ", "  "],
        ["a", "a ", "\0a", "a\0b", "b\0"],
        ["x" * 10**6, "x" * (10**6 - 1)],
        ["e\u0301", "é", "\u202eé", "É"],
        ["\U0010ffff", "\ufffe", "\ufffd", "\0"],
    ],
)
def test_odd_vocabularies(small_ranker: serving.Ranker, ids: list[str]) -> None:
    """float32: the scores are exact but for the order of sums, and ids are told apart."""
    ranker = vocabulary_of(ids, small_ranker)
    model = conversion.to_float32(serving.ServingModule(ranker))
    ids = list(ranker.candidates.vocabulary)
    titles = [*ids, *(one + "\0" for one in ids), *(one[:-1] for one in ids), "other"]
    with warm(NEWEST).open(model) as session:
        told = score.score(session, flatbuffer.read(model), "42", titles)
        best = score.recommend(session, flatbuffer.read(model), "42", len(ids))
    expected = dict(zip(titles, keras(ranker, "42", titles), strict=True))
    for one in told.scores:
        # Scores within some tens, whose float32 steps are 2e-6.
        assert abs(one.score - expected[one.candidate]) < 1e-4
        assert one.known == (one.candidate in ids)
    assert [one.candidate for one in best.scores] == sorted(ids, key=lambda one: -expected[one])


@pytest.mark.parametrize("part", ["user_embeddings", "movie_embeddings"])
def test_empty_vocabulary_is_named(keras_model: ranking.MovielensModel, part: str) -> None:
    """A lookup that was never given ids: Keras itself can't score with it."""
    names = ("user_embeddings", "movie_embeddings", "ratings")
    inner = SimpleNamespace(**{n: getattr(keras_model.ranking_model, n) for n in names})
    empty = tf.keras.layers.StringLookup(mask_token=None)
    with pytest.raises(tf.errors.FailedPreconditionError):
        empty(tf.constant(["x"]))
    embedding = getattr(inner, part).layers[1]
    vars(inner)[part] = SimpleNamespace(layers=[empty, embedding])
    with pytest.raises(serving.ModelError, match=f"{part} knows no id"):
        serving.ranker_of(SimpleNamespace(ranking_model=inner))


@pytest.mark.parametrize("twice", ["a", "a\0"])
def test_vocabulary_with_a_duplicate_is_refused(twice: str) -> None:
    """By Keras, which names it (NumPy 2 writes `np.str_('a')`)."""
    with pytest.raises(ValueError, match=r"repeated terms are \[.*'a'\)?\]"):
        tf.keras.layers.StringLookup(vocabulary=["a", "b", twice], mask_token=None)


def test_a_thousand_damaged_files(small_model: bytes) -> None:
    """Each is run where it can be, in a child that is started anew where it aborts."""
    outcomes: Counter[str] = Counter()
    child: Any = None
    for seed in range(MUTATIONS):
        content = mutated(small_model, seed)
        try:
            model = flatbuffer.read(content)
            if child is None or child._process.poll() is not None:
                child = runtime.named(NEWEST).open(small_model, limits=runtime.Limits(5.0))
            child.signatures = child._load(content, True, 1)
            score.score(child, model, "42", ["x", "nobody knows"])
        except (flatbuffer.FlatbufferError, score.ScoreError, runtime.RuntimeFailure) as error:
            outcomes[type(error).__name__] += 1
            outcomes["crashed"] += "crashed" in str(error)
        else:
            outcomes["scored"] += 1
    child.close()
    assert outcomes.total() - outcomes["crashed"] == MUTATIONS
    # Every way out is taken, or the damage shows nothing.
    assert min(outcomes[kind] for kind in ("FlatbufferError", "RuntimeFailure", "scored")) > 20
