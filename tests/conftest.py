"""The real model on the real ratings, trained once a session."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from export import conversion, quantization, reference, runtime, serving
from model import data, ranking, train
from tests import support
from tests.support import Exported, Trained

# The same examples on every run, and no time limit: runtimes answer slowly on a busy machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

USERS = 40


@pytest.fixture(scope="session")
def ratings() -> data.Ratings:
    """MovieLens 100k, prepared by TFDS in its default folder by the first run ever."""
    return data.load(data.EMBEDDED)


@pytest.fixture(scope="session")
def trained(ratings: data.Ratings) -> Trained:
    """The tutorial's model after its three epochs."""
    epochs: list[tuple[int, float]] = []
    model, training = train.train(ratings, on_epoch=lambda *epoch: epochs.append(epoch))
    return Trained(model, training, epochs)


@pytest.fixture(scope="session")
def keras_model(trained: Trained) -> ranking.MovielensModel:
    return trained.model


@pytest.fixture(scope="session")
def training(trained: Trained) -> train.Training:
    return trained.training


@pytest.fixture(scope="session")
def test_columns(ratings: data.Ratings) -> dict[str, support.Array]:
    """The 20,000 test ratings' columns."""
    return data.columns(data.split(ratings).test)


@pytest.fixture(scope="session")
def ranker(keras_model: ranking.MovielensModel) -> serving.Ranker:
    return serving.ranker_of(keras_model)


@pytest.fixture(scope="session")
def exported(
    keras_model: ranking.MovielensModel,
    ranker: serving.Ranker,
    test_columns: dict[str, support.Array],
) -> Exported:
    """Every recipe's file, and Keras's scores for the users with the most test ratings.

    Forty users keep a measurement at a second a runtime; each still has enough test candidates
    for an order of them to mean something.
    """
    users, counts = np.unique(test_columns["user_id"], return_counts=True)
    busiest = users[np.argsort(-counts, kind="stable")[:USERS]]
    kept = np.isin(test_columns["user_id"], busiest)
    float_model = conversion.to_float32(serving.ServingModule(ranker))
    return Exported(
        ranker=ranker,
        float_model=float_model,
        files={
            name: quantization.apply(recipe, float_model)
            for name, recipe in quantization.RECIPES.items()
        },
        reference=reference.measure(
            keras_model, ranker, {name: values[kept] for name, values in test_columns.items()}
        ),
        measured={},
    )


@pytest.fixture(scope="session", autouse=True)
def children_end() -> Iterator[None]:
    """Ends the runtimes' processes with the session."""
    yield
    support.end_children()


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `python -m model.train` fills, in a process of its own."""
    folder = tmp_path_factory.mktemp("trained")
    run = support.python("-m", "model.train", "--ratings", "embedded", "--output", str(folder))
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(params=support.RECIPES)
def recipe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=support.RUNTIMES)
def runtime_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def session(exported: Exported) -> runtime.Session:
    """The default recipe's file, open in the newest runtime."""
    return support.warm(support.NEWEST).open(exported.files[quantization.DEFAULT_RECIPE])
