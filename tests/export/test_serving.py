"""Serving: a model taken apart, and every signature of every file on every runtime."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from export import conversion, gate, quantization, runtime, serving, stable_units
from model import ranking
from tests.support import RECIPES, RUNTIMES, Array, Exported, warm

USER_ROW = 3


@pytest.fixture(params=[True, False], ids=["xnnpack", "plain kernels"])
def xnnpack(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def opened(
    exported: Exported, recipe: str, runtime_name: str, xnnpack: bool
) -> Iterator[runtime.Session]:
    with warm(runtime_name).open(exported.files[recipe], xnnpack=xnnpack) as session:
        yield session


def ids(*texts: str) -> Array:
    return runtime.utf8(texts)


def test_every_signature_on_every_runtime(
    opened: runtime.Session, exported: Exported, recipe: str
) -> None:
    """One test for all, since opening the file is what takes the time."""
    reference, allowed = exported.reference, gate.LIMITS[recipe].max_abs
    assert opened.signatures.keys() == serving.SIGNATURES.keys()
    for name, ends in serving.SIGNATURES.items():
        assert sorted(opened.signatures[name]["inputs"]) == sorted(ends["inputs"])
        assert sorted(opened.signatures[name]["outputs"]) == sorted(ends["outputs"])

    pairs = reference.test
    scores = opened.run("score", user_id=pairs.users, movie_title=pairs.candidates)["score"]
    assert scores.dtype == np.float32 and scores.shape == pairs.scores.shape
    assert np.abs(scores - pairs.scores).max() <= allowed

    nothing = opened.run("score", user_id=ids(), movie_title=ids())["score"]
    assert nothing.shape == (0,)

    user = reference.users[USER_ROW : USER_ROW + 1]
    keras = reference.catalogue_scores[USER_ROW]
    ranked = opened.run("rank", user_id=user, movie_title=reference.catalogue)
    assert np.abs(ranked["score"] - keras).max() <= allowed
    assert np.array_equal(ranked["order"], np.argsort(-ranked["score"], kind="stable"))
    one = opened.run("rank", user_id=user, movie_title=reference.catalogue[7:8])
    assert one["order"].tolist() == [0]
    assert abs(one["score"][0] - keras[7]) <= allowed

    size = len(reference.catalogue)
    seen = reference.catalogue[ranked["order"][[0, 2]]]
    left = np.delete(ranked["order"], [0, 2])
    for wanted, given in ((5, 5), (1, 1), (size, size - 2), (size + 99, size - 2)):
        count = np.array([wanted], np.int32)
        best = opened.run("recommend", user_id=user, k=count, seen=seen)
        assert best["index"].tolist() == left[:given].tolist()
        assert best["movie_title"].tolist() == reference.catalogue[left[:given]].tolist()
        assert np.abs(best["score"] - ranked["score"][left[:given]]).max(initial=0) <= 1e-5, (
            "the same sums as rank's, in another order: float32 steps near 4 are 2.4e-7"
        )


@pytest.mark.parametrize("wanted", [0, -3])
def test_nothing_wanted_gives_the_best_one(
    exported: Exported, runtime_name: str, wanted: int
) -> None:
    """TOPK_V2 of none corrupts the heap in tflite-runtime 2.14, and LiteRT can't read it."""
    session = warm(runtime_name).open(exported.files["int8"])
    answers = [
        session.run("recommend", user_id=["42"], k=np.array([k], np.int32), seen=[""])
        for k in (wanted, 1)
    ]
    assert answers[0]["index"].size == 1
    assert answers[0]["index"].tolist() == answers[1]["index"].tolist()


def test_all_seen_gives_one_that_says_so(exported: Exported, runtime_name: str) -> None:
    session = warm(runtime_name).open(exported.files["int8"])
    seen = list(exported.ranker.candidates.vocabulary)
    best = session.run("recommend", user_id=["42"], k=np.array([5], np.int32), seen=seen)
    assert best["score"].tolist() == [float(np.finfo(np.float32).min)]


def test_unknown_seen_ids_exclude_nothing(session: runtime.Session) -> None:
    count = np.array([10], np.int32)
    none = session.run("recommend", user_id=["42"], k=count, seen=[""])
    odd = session.run("recommend", user_id=["42"], k=count, seen=["no such", "🎬", "no such"])
    assert none["index"].tolist() == odd["index"].tolist()
    assert len(none["index"]) == 10


def test_seen_twice_counts_once(session: runtime.Session, exported: Exported) -> None:
    size = len(exported.reference.catalogue)
    title = exported.ranker.candidates.vocabulary[0]
    count = np.array([size], np.int32)
    best = session.run("recommend", user_id=["42"], k=count, seen=[title, title])
    assert len(best["index"]) == size - 1
    assert title.encode() not in best["movie_title"]


def test_unknown_user_is_ranked_by_the_spare_row(
    session: runtime.Session, exported: Exported, keras_model: ranking.MovielensModel
) -> None:
    titles = exported.reference.catalogue[:50]
    users = np.full(50, b"nobody", dtype=object)
    keras = keras_model({"user_id": tf.constant(users), "movie_title": tf.constant(titles)})
    ranked = session.run("rank", user_id=["nobody"], movie_title=titles)
    error = np.abs(ranked["score"] - keras.numpy().reshape(-1)).max()
    assert error <= gate.LIMITS["int8"].max_abs


def test_equal_scores_keep_their_order(session: runtime.Session) -> None:
    titles = ["unknown a", "Speed (1994)", "unknown b", "Speed (1994)", "unknown c"]
    order = session.run("rank", user_id=["42"], movie_title=titles)["order"].tolist()
    assert [place for place in order if place in (0, 2, 4)] == [0, 2, 4]
    assert [place for place in order if place in (1, 3)] == [1, 3]


def test_ranker_has_the_models_weights(
    ranker: serving.Ranker, keras_model: ranking.MovielensModel
) -> None:
    assert ranker.parameters == sum(int(tf.size(w)) for w in keras_model.ranking_model.weights)
    assert [layer.relu for layer in ranker.dense] == [True, True, False]
    assert ranker.users.table.shape == (944, 32)
    assert ranker.candidates.table.shape == (1665, 32)


def test_bare_ranking_model_is_taken_too(
    ranker: serving.Ranker, keras_model: ranking.MovielensModel
) -> None:
    inner = serving.ranker_of(keras_model.ranking_model)
    assert np.array_equal(inner.users.table, ranker.users.table)


def small_model() -> ranking.RankingModel:
    model = ranking.RankingModel(["a", "b"], ["x"], embedding_dimension=4)
    model((tf.constant(["a"]), tf.constant(["x"])))
    return model


def test_model_without_a_tower() -> None:
    model = small_model()
    model.movie_embeddings = None
    with pytest.raises(serving.ModelError, match="no 'movie_embeddings'"):
        serving.ranker_of(model)


def test_integer_lookup_is_refused() -> None:
    model = small_model()
    model.user_embeddings = tf.keras.Sequential(
        [tf.keras.layers.IntegerLookup(vocabulary=[1, 2]), tf.keras.layers.Embedding(3, 4)]
    )
    with pytest.raises(serving.ModelError, match="IntegerLookup"):
        serving.ranker_of(model)


@pytest.mark.parametrize("options", [{"mask_token": ""}, {"num_oov_indices": 2}])
def test_other_numbering_of_ids_is_refused(options: dict[str, object]) -> None:
    model = small_model()
    options = {"mask_token": None, **options}
    model.user_embeddings = tf.keras.Sequential(
        [
            tf.keras.layers.StringLookup(vocabulary=["a", "b"], **options),
            tf.keras.layers.Embedding(5, 4),
        ]
    )
    with pytest.raises(serving.ModelError, match="mask_token=None and one out-of-vocabulary"):
        serving.ranker_of(model)


def test_other_activation_is_refused() -> None:
    model = small_model()
    model.ratings = tf.keras.Sequential([tf.keras.layers.Dense(1, activation="gelu")])
    model((tf.constant(["a"]), tf.constant(["x"])))
    with pytest.raises(serving.ModelError, match="gelu"):
        serving.ranker_of(model)


def test_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(serving.ModelError, match="not a SavedModel folder"):
        serving.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index", "keras_metadata.pb"]
)
def test_truncated_saved_model(saved_model: Path, tmp_path: Path, name: str) -> None:
    damaged = Path(shutil.copytree(saved_model / "saved_model", tmp_path / "damaged"))
    content = (damaged / name).read_bytes()
    (damaged / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(serving.ModelError, match="can't be loaded"):
        serving.load(damaged)


def test_saved_model_gives_the_same_bytes(saved_model: Path, exported: Exported) -> None:
    """Trained in another process, saved and loaded: each recipe's file is what is made here."""
    ranker = serving.ranker_of(serving.load(saved_model / "saved_model"))
    float_model = conversion.of_ranker(stable_units.simplify(ranker).ranker)
    for name, kind in quantization.RECIPES.items():
        assert quantization.apply(kind, float_model) == exported.files[name]


def test_small_catalogue_works(exported: Exported) -> None:
    """Fewer titles than anyone asks for, and tables narrower than the tutorial's."""
    model = small_model()
    ranker = serving.ranker_of(model)
    file = conversion.of_ranker(ranker)
    keras = float(model((tf.constant(["a"]), tf.constant(["x"])))[0, 0])
    for recipe in RECIPES:
        with warm(RUNTIMES[0]).open(quantization.apply(quantization.RECIPES[recipe], file)) as one:
            best = one.run("recommend", user_id=["a"], k=np.array([10], np.int32), seen=[""])
            score = one.run("score", user_id=["a"], movie_title=["x"])["score"][0]
        assert best["movie_title"].tolist() == [b"x"]
        # Untrained weights give scores around 0.1: the limits for scores near 4 hold the more.
        assert abs(score - keras) <= gate.LIMITS[recipe].max_abs
