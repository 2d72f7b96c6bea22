"""Parity: the figures of every recipe on every runtime, and the same figures by hand."""

import hashlib

import numpy as np
import pytest

from export import gate, parity, serving
from tests.support import NEWEST, RUNTIMES, Array, Exported, warm


def test_every_recipe_keeps_its_limits_on_every_runtime(exported: Exported, recipe: str) -> None:
    measured = exported.parity_of(recipe)
    assert tuple(one.runtime for one in measured.runtimes) == RUNTIMES
    assert gate.check(measured) == ()


def test_what_was_measured(exported: Exported, recipe: str) -> None:
    reference = exported.reference
    for one in exported.parity_of(recipe).runtimes:
        assert one.test.pairs == one.plain_kernels.pairs == len(reference.test.users)
        assert one.catalogue.pairs == one.rank.pairs == reference.catalogue_scores.size
        assert one.odd_ids.pairs == len(reference.odd_names) > 30
        assert one.singles.pairs == parity.SINGLES
        assert one.catalogue_agreement.users == len(reference.users)
        assert one.misplaced == 0


def test_file_facts(exported: Exported, recipe: str) -> None:
    facts = exported.parity_of(recipe).file
    file = exported.files[recipe]
    assert facts.bytes == len(file)
    assert facts.sha256 == hashlib.sha256(file).hexdigest()
    assert facts.custom_ops == ()
    # Two in each of the three signatures.
    assert facts.lookups == 6
    assert set(facts.parameters) == set(serving.SIGNATURES)


def test_figures_by_hand(exported: Exported) -> None:
    """int8 on the newest runtime, from its plain answers with NumPy alone."""
    reference = exported.reference
    measured = {one.runtime: one for one in exported.parity_of("int8").runtimes}[NEWEST]
    pairs = reference.test
    with warm(NEWEST).open(exported.files["int8"]) as session:
        scores = session.run("score", user_id=pairs.users, movie_title=pairs.candidates)["score"]
    differences = np.abs(scores.astype(np.float64) - pairs.scores)
    # A batch of another size may sum in another order: tens of float32 steps of 2.4e-7.
    assert measured.test.max_abs == pytest.approx(differences.max(), abs=1e-5)
    assert measured.test.mean_abs == pytest.approx(differences.mean(), abs=1e-5)

    def rmse(predictions: Array) -> float:
        return float(np.sqrt(np.mean((predictions - reference.ratings.astype(np.float64)) ** 2)))

    assert measured.rmse == pytest.approx(rmse(scores), abs=1e-5)
    assert measured.rmse_keras == pytest.approx(rmse(pairs.scores), abs=1e-5)
    assert measured.rmse_delta == pytest.approx(abs(rmse(scores) - rmse(pairs.scores)), abs=1e-5)
    assert 0 < measured.test.max_abs < 0.01, "int8 rounds, so its error is not nothing"


def test_more_bits_are_nearer_to_keras(exported: Exported) -> None:
    mean = {
        name: exported.parity_of(name).runtimes[-1].catalogue.mean_abs
        for name in ("float32", "float16", "int8", "int4")
    }
    assert mean["float32"] < mean["float16"] < mean["int8"] < mean["int4"]


def test_reference_is_what_keras_answers(exported: Exported) -> None:
    """Both halves of the reference agree where they meet: test pairs in the catalogue."""
    reference = exported.reference
    row = {user: index for index, user in enumerate(reference.users)}
    column = {title: index for index, title in enumerate(reference.catalogue)}
    pairs = reference.test
    rows = [row[user] for user in pairs.users]
    columns = [column[title] for title in pairs.candidates]
    # Two batches of Keras's own, that sum in another order.
    np.testing.assert_allclose(
        reference.catalogue_scores[rows, columns], pairs.scores, rtol=0, atol=1e-5
    )


def test_ids_that_are_not_known_share_one_score(exported: Exported) -> None:
    odd = exported.reference.odd
    scores = dict(zip(exported.reference.odd_names, odd.scores, strict=True))
    strange = {name: s for name, s in scores.items() if name.endswith(" user and candidate")}
    known = strange.pop("known user and candidate")
    # All are the spare rows' pair; batches' places may differ by a float32 step or two.
    assert np.ptp(list(strange.values())) <= 1e-6
    assert abs(known - scores["known user, NUL appended"]) > 1e-5
    assert abs(known - scores["known candidate, NUL appended"]) > 1e-5
