"""Out-of-vocabulary policies, and their comparison on ids held out of the vocabulary."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from export import cold_start, oov, serving
from model import data, ranking
from model.ratings import ITEM, LABEL, USER, Split

IDS = ("a", "b", "c")
TABLE = np.array([[9, 9], [0, 2], [1, 4], [5, 0]], np.float32)


def test_rows_by_hand() -> None:
    counts = {"a": 1, "b": 3, "elsewhere": 50}
    assert oov.row("trained", TABLE, IDS, counts).tolist() == [9, 9]
    assert oov.row("mean", TABLE, IDS, counts).tolist() == [2, 2]
    assert oov.row("popularity", TABLE, IDS, counts).tolist() == [0.75, 3.5]
    # Counts of other ids than the model's: all weigh the same.
    assert oov.row("popularity", TABLE, IDS, {"elsewhere": 5}).tolist() == [2, 2]


@given(
    hnp.arrays(np.float32, (5, 3), elements=st.floats(-10, 10, width=32)),
    st.lists(st.integers(0, 1000), min_size=4, max_size=4),
)
def test_a_row_lies_among_the_others(table: np.ndarray, counts: list[int]) -> None:
    ids = ("a", "b", "c", "d")
    for policy in ("mean", "popularity"):
        row = oov.row(policy, table, ids, dict(zip(ids, counts, strict=True)))
        # A step of float32 for the rounding of the sum.
        assert (row >= table[1:].min(axis=0) - 1e-5).all()
        assert (row <= table[1:].max(axis=0) + 1e-5).all()


def test_keras_itself_scores_by_the_policy() -> None:
    model = ranking.MovielensModel(["1", "2"], list(IDS))
    known = {USER: tf.constant(["1"]), ITEM: tf.constant(["a"])}
    unknown = {USER: tf.constant(["1"]), ITEM: tf.constant(["?"])}
    before = float(model(known)[0, 0])
    oov.apply(model, "mean", {}, {})
    ranker = serving.ranker_of(model)
    for tower in (ranker.users, ranker.candidates):
        # The mean is rounded to float32 once more than NumPy's.
        np.testing.assert_allclose(tower.table[0], tower.table[1:].mean(axis=0), atol=1e-7)
    assert float(model(known)[0, 0]) == before
    by_hand = ranker.candidates.table[1:].mean(axis=0)
    model.ranking_model.movie_embeddings.layers[1].set_weights(
        [np.vstack([by_hand, *ranker.candidates.table[1:]])]
    )
    scored = float(model(unknown)[0, 0])
    oov.apply(model, "popularity", {}, {"b": 7})
    assert float(model(unknown)[0, 0]) != scored
    assert float(model(unknown)[0, 0]) == float(model({**known, ITEM: tf.constant(["b"])})[0, 0])


def test_unknown_policy() -> None:
    with pytest.raises(oov.UnknownPolicyError, match="'zero': choose one of trained, mean"):
        oov.check("zero")


@pytest.fixture(scope="module")
def some(ratings: data.Ratings) -> data.Ratings:
    """Ratings enough to hold some users out, and few enough to be quick."""
    rows = data.columns(ratings.dataset.take(6000))
    train, test = (
        cold_start._dataset({name: values[part] for name, values in rows.items()})
        for part in (slice(3000), slice(3000, None))
    )
    return replace(ratings, splitter=lambda seed: Split(train, test))


def test_cold_start_holds_ids_out(some: data.Ratings) -> None:
    given_to: list[data.Ratings] = []

    def train(ratings: data.Ratings) -> tf.keras.Model:
        given_to.append(ratings)
        return ranking.MovielensModel(ratings.user_ids, ratings.movie_titles)

    figures = cold_start.measure(some, 42, train)
    (used,) = given_to
    new_users = set(some.user_ids.tolist()) - set(used.user_ids.tolist())
    new_titles = set(some.movie_titles.tolist()) - set(used.movie_titles.tolist())
    assert (len(new_users), len(new_titles)) == (94, 166)
    trained_on = data.columns(used.dataset)
    assert not new_users & set(trained_on[USER].tolist())
    assert not new_titles & set(trained_on[ITEM].tolist())

    assert {(one.policy, one.group) for one in figures} == {
        (policy, group) for policy in oov.POLICIES for group in cold_start.GROUPS
    }
    tested = data.columns(some.split(42).test)
    counts = {one.group: one.ratings for one in figures}
    is_new = [
        [one in new for one in tested[name].tolist()]
        for name, new in ((USER, new_users), (ITEM, new_titles))
    ]
    assert counts["new users"] == sum(u and not t for u, t in zip(*is_new, strict=True))
    assert counts["new users, new titles"] == sum(u and t for u, t in zip(*is_new, strict=True))


def test_cold_start_figures_by_hand() -> None:
    tested = {
        USER: np.array([b"u", b"u", b"v"], object),
        ITEM: np.array([b"a", b"b", b"a"], object),
        LABEL: np.array([1.0, 3.0, 2.0], np.float32),
    }
    scores = np.array([3.0, 2.0, 2.0], np.float32)
    figures = cold_start._figures("mean", "new users", tested, scores, np.array([1, 1, 0], bool))
    assert figures.ratings == 2
    assert figures.rmse == pytest.approx(np.sqrt((4 + 1) / 2))
    # The title with label 1 comes first: gains 1 and 3 discounted by 1 and log2(3).
    discount = 1 / np.log2(3)
    assert figures.ndcg == pytest.approx((1 + 3 * discount) / (3 + discount))
