"""The real model on the real ratings, trained once a session."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import settings

from benchmarks.alone import ScoreAlone
from export import conversion, quantization, reference, runtime, serving, stable_units
from model import data, ranking, train
from tests import support
from tests.support import Exported, Trained, WholeRun

# The same examples on every run, and no time limit: runtimes answer slowly on a busy machine.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

USERS = 40

# Where a command writes, and the command at work, by the fixture that waits for it.
Background: TypeAlias = dict[str, tuple[Path, "Future[subprocess.CompletedProcess[str]]"]]


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
def simplified(ranker: serving.Ranker) -> stable_units.Simplified:
    """What an export makes of it."""
    return stable_units.simplify(ranker)


@pytest.fixture(scope="session")
def exported(
    keras_model: ranking.MovielensModel,
    simplified: stable_units.Simplified,
    test_columns: dict[str, support.Array],
) -> Exported:
    """Every recipe's file, and Keras's scores for the users with the most test ratings.

    Forty users keep a measurement at a second a runtime; each still has enough test candidates
    for an order of them to mean something.
    """
    users, counts = np.unique(test_columns["user_id"], return_counts=True)
    busiest = users[np.argsort(-counts, kind="stable")[:USERS]]
    kept = np.isin(test_columns["user_id"], busiest)
    float_model = conversion.of_ranker(simplified.ranker)
    return Exported(
        ranker=simplified.ranker,
        float_model=float_model,
        files={
            name: quantization.apply(recipe, float_model)
            for name, recipe in quantization.RECIPES.items()
        },
        reference=reference.measure(
            keras_model,
            simplified.ranker,
            {name: values[kept] for name, values in test_columns.items()},
        ),
        measured={},
    )


@pytest.fixture(scope="session", autouse=True)
def children_end() -> Iterator[None]:
    """Ends the runtimes' processes with the session."""
    yield
    support.end_children()


@pytest.fixture(scope="session", autouse=True)
def background(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Background]:
    """The commands that train and export, one after the other beside the first tests.

    They take a minute and a half of a second core, and only tests at the end need them.
    """
    wanted = {name for item in request.session.items for name in _fixtures(item)}
    folder = tmp_path_factory.mktemp("background")
    export = ("-m", "export.tflite", "--runtime", support.NEWEST, "--output-dir")
    embedded = ("--ratings", "embedded")
    commands = {
        "saved_model": ("-m", "model.train", "--output", str(folder / "saved_model"), *embedded),
        "whole_run": (*export, str(folder / "whole_run"), *embedded),
        "own_run": (*export, str(folder / "own_run"), *support.own_ratings(folder)),
    }
    with ThreadPoolExecutor(max_workers=1) as executor:
        runs: Background = {}
        if wanted & commands.keys():
            # Two processes must not prepare the ratings at once.
            request.getfixturevalue("ratings")
        for name, command in commands.items():
            if name in wanted:
                run = executor.submit(support.python, *command, timeout=900)
                runs[name] = (folder / name, run)
        yield runs
        executor.shutdown(cancel_futures=True)


def _fixtures(item: pytest.Item) -> tuple[str, ...]:
    return tuple(getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def saved_model(background: Background) -> Path:
    """The folder that `python -m model.train` fills, in a process of its own."""
    folder, running = background["saved_model"]
    done = running.result()
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def whole_run(background: Background) -> WholeRun:
    """One export as a user runs it: trained, proven on the whole catalogue, published."""
    folder, running = background["whole_run"]
    return folder, running.result()


@pytest.fixture(scope="session")
def own_run(background: Background) -> WholeRun:
    """An export of made ratings with other columns and labels, and of cut vocabularies."""
    folder, running = background["own_run"]
    return folder, running.result()


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


@pytest.fixture(scope="session")
def small_ranker() -> serving.Ranker:
    """A ranker of three users and four titles, of random numbers."""
    random = np.random.default_rng(0)

    def tower(*ids: str) -> serving.Tower:
        lookup = tf.keras.layers.StringLookup(vocabulary=list(ids), mask_token=None)
        table = random.standard_normal((len(ids) + 1, 4), np.float32)
        return serving.Tower(lookup, ids, table)

    def dense(inputs: int, outputs: int, relu: bool) -> serving.DenseLayer:
        kernel = random.standard_normal((inputs, outputs), np.float32)
        return serving.DenseLayer(kernel, random.standard_normal(outputs, np.float32), relu)

    users, titles = tower("1", "42", "é"), tower("Speed (1994)", "Fargo (1996)", "千と千尋", "x")
    return serving.Ranker(users, titles, (dense(8, 8, True), dense(8, 1, False)))


@pytest.fixture(scope="session")
def small_model(small_ranker: serving.Ranker) -> bytes:
    """Its `score`, as an int8 file of some kilobytes: most of its bytes are the graph's."""
    float_model = conversion.to_float32(ScoreAlone(small_ranker))
    return quantization.apply(quantization.RECIPES["int8"], float_model)
