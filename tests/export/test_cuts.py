"""Vocabulary cuts: what goes is gone from the file, and what stays scores as before."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from export import conversion, cuts, flatbuffer, gate, parity, quantization, reference, serving
from export.cuts import EVERYTHING, Cut, CutError
from model import ranking
from tests import support
from tests.support import Array, Exported

KEPT = 100
USER = "42"


@pytest.fixture(scope="module")
def counts(test_columns: dict[str, Array]) -> dict[str, int]:
    return dict(Counter(one.decode() for one in test_columns["movie_title"]))


@pytest.fixture(scope="module")
def nobody(ranker: serving.Ranker, counts: dict[str, int]) -> serving.Ranker:
    """No user, and the most frequent titles."""
    return cuts.apply(ranker, Cut(top=0), Cut(top=KEPT), {}, counts)


@pytest.fixture(scope="module")
def one_user(ranker: serving.Ranker) -> serving.Ranker:
    return cuts.apply(ranker, Cut(listed=frozenset([USER])), EVERYTHING, {}, {})


_float_models: dict[int, bytes] = {}


def file_of(ranker: serving.Ranker, recipe: str) -> bytes:
    """A ranker's file; each of the module's rankers is converted once."""
    if id(ranker) not in _float_models:
        _float_models[id(ranker)] = conversion.of_ranker(ranker)
    return quantization.apply(quantization.RECIPES[recipe], _float_models[id(ranker)])


def check(
    recipe: str,
    model: ranking.MovielensModel,
    whole: serving.Ranker,
    cut: serving.Ranker,
    test: dict[str, Array],
) -> tuple[gate.Breach, ...]:
    some = {name: values[:2000] for name, values in test.items()}
    expected = reference.measure(model, cut, some, reference.dropped(whole, cut))
    runtimes = (support.warm(support.NEWEST),)
    return gate.check(parity.measure(recipe, file_of(cut, recipe), cut, expected, runtimes))


@pytest.mark.parametrize("kind", ["nobody", "one_user"])
def test_a_cut_file_keeps_the_gate(
    kind: str,
    request: pytest.FixtureRequest,
    keras_model: ranking.MovielensModel,
    ranker: serving.Ranker,
    test_columns: dict[str, Array],
) -> None:
    cut = request.getfixturevalue(kind)
    assert check("int8", keras_model, ranker, cut, test_columns) == ()


def test_a_dropped_row_that_stays_in_use_is_caught(
    keras_model: ranking.MovielensModel,
    ranker: serving.Ranker,
    nobody: serving.Ranker,
    test_columns: dict[str, Array],
) -> None:
    """Against the whole model, whose dropped ids still have rows of their own, the cut fails."""
    some = {name: values[:2000] for name, values in test_columns.items()}
    expected = reference.measure(keras_model, nobody, some)
    runtimes = (support.warm(support.NEWEST),)
    measured = parity.measure("int8", file_of(nobody, "int8"), nobody, expected, runtimes)
    assert any(breach.figure == "largest error, test ratings" for breach in gate.check(measured))


@pytest.mark.parametrize("recipe", ["float32", "int4"])
def test_nothing_of_a_dropped_id_remains(
    recipe: str, exported: Exported, ranker: serving.Ranker, nobody: serving.Ranker
) -> None:
    file = file_of(nobody, recipe)
    kept = "\n".join(nobody.candidates.vocabulary)
    gone = [
        one
        for one in set(ranker.candidates.vocabulary) - set(nobody.candidates.vocabulary)
        # A title inside a kept one is still there, as a part of it.
        if one not in kept
    ]
    assert len(gone) > 1500
    assert not [one for one in gone if one.encode() in file]
    # Of users, whose numbers are parts of titles' years: no vocabulary, no row.
    model = flatbuffer.read(file)
    assert len(flatbuffer.vocabularies(model)) == 1
    shapes = [size.shape for size in flatbuffer.tensor_sizes(model)]
    assert not [shape for shape in shapes if len(shape) == 2 and shape[0] == 944]
    # The search does find what is there.
    assert nobody.candidates.vocabulary[0].encode() in file
    assert gone[0].encode() in exported.files[recipe]


def test_kept_titles_score_as_in_the_whole_file(
    exported: Exported, one_user: serving.Ranker
) -> None:
    titles = list(exported.ranker.candidates.vocabulary)
    whole = support.warm(support.NEWEST).open(exported.files["float32"])
    before = whole.run("score", user_id=[USER] * len(titles), movie_title=titles)["score"]
    stranger = whole.run("score", user_id=["?"] * len(titles), movie_title=titles)["score"]
    cut = support.warm(support.NEWEST).open(file_of(one_user, "float32"))
    after = cut.run("score", user_id=[USER] * len(titles), movie_title=titles)["score"]
    other = cut.run("score", user_id=["43"] * len(titles), movie_title=titles)["score"]
    # float32's own limit between two files: sums in another order.
    assert np.abs(after - before).max() <= gate.LIMITS["float32"].singles
    assert np.abs(other - stranger).max() <= gate.LIMITS["float32"].singles
    assert np.abs(after - other).max() > 0.01


def test_most_frequent_first(ranker: serving.Ranker, counts: dict[str, int]) -> None:
    cut = cuts.apply(ranker, EVERYTHING, Cut(top=KEPT), {}, counts)
    least = min(counts.get(one, 0) for one in cut.candidates.vocabulary)
    gone = set(ranker.candidates.vocabulary) - set(cut.candidates.vocabulary)
    assert len(cut.candidates.vocabulary) == KEPT
    assert max(counts.get(one, 0) for one in gone) <= least
    assert cut.users is ranker.users
    row = 1 + ranker.candidates.vocabulary.index(cut.candidates.vocabulary[7])
    assert (cut.candidates.table[8] == ranker.candidates.table[row]).all()
    assert (cut.candidates.table[0] == ranker.candidates.table[0]).all()


def test_a_listed_id_must_be_known(ranker: serving.Ranker) -> None:
    with pytest.raises(CutError, match=r"--users: 1 of the 2 ids .* 'nobody'"):
        cuts.apply(ranker, Cut(listed=frozenset(["42", "nobody"])), EVERYTHING, {}, {})


def test_parsing(tmp_path: Path) -> None:
    listed = tmp_path / "ids.txt"
    listed.write_text("42\n\n7\n", "utf-8")
    assert cuts.parse(None, "--users", True).keeps_all
    assert cuts.parse("none", "--users", True) == Cut(top=0)
    assert cuts.parse("top:5", "--users", True) == Cut(top=5)
    assert cuts.parse(str(listed), "--users", True) == Cut(listed=frozenset(["42", "7"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("top:0", "at least 1"),
        ("top:many", "at least 1"),
        ("none", "No such file"),
        ("/no/such/file", "No such file"),
    ],
)
def test_wrong_cuts(text: str, message: str) -> None:
    with pytest.raises(CutError, match=f"--items {text}: .*{message}"):
        cuts.parse(text, "--items", may_be_none=False)


def test_files_that_list_nothing(tmp_path: Path) -> None:
    for content, message in ((b"\n", "no ids"), (b"\xff", "not UTF-8")):
        (tmp_path / "ids").write_bytes(content)
        with pytest.raises(CutError, match=message):
            cuts.parse(str(tmp_path / "ids"), "--users", True)
