"""Models that are not the tutorial's, trained tiny and taken from their SavedModels."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import tensorflow as tf

from examples import dcn_ranker, listwise_ranker
from export import conversion, quantization
from export.features import model, parity, rows
from export.features.serving import FeatureModule
from model import data
from tests import support

RATINGS = 3000


@dataclass(frozen=True, repr=False)
class Case:
    """A trained model, its folder, what was read of it, and its float32 file."""

    keras: tf.keras.Model
    folder: Path
    model: model.FeatureModel
    float_model: bytes
    expected: parity.Reference

    def file(self, recipe: str = quantization.DEFAULT_RECIPE) -> bytes:
        """The recipe's file."""
        return quantization.apply(quantization.RECIPES[recipe], self.float_model)

    def measure(
        self, file: bytes, recipe: str = quantization.DEFAULT_RECIPE, *names: str
    ) -> parity.Parity:
        """Measures a file as if it were the recipe's; on LiteRT where no runtime is named."""
        kinds = tuple(support.warm(name) for name in names or (support.NEWEST,))
        return parity.measure(recipe, file, self.float_model, self.model, self.expected, kinds)


def case(keras: tf.keras.Model, folder: Path) -> Case:
    """What comes of a saved model."""
    trained = model.load(folder)
    float_model = conversion.to_float32(FeatureModule(trained))
    return Case(keras, folder, trained, float_model, parity.reference(trained, rows.made(trained)))


@pytest.fixture(scope="session")
def known() -> dcn_ranker.Columns:
    """The DCN example's features of a few ratings."""
    return dcn_ranker.columns(limit=RATINGS)


@pytest.fixture(scope="session")
def dcn(known: dcn_ranker.Columns, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A DCN-v2 ranker: strings, integers, a float, multi-hot genres, and two heads."""
    folder = tmp_path_factory.mktemp("dcn") / "saved_model"
    keras = dcn_ranker.train(known, epochs=4, batch=500)
    keras.save(str(folder))
    return case(keras, folder)


@pytest.fixture(scope="session")
def listwise(ratings: data.Ratings, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A listwise ranker, which takes lists of any length."""
    folder = tmp_path_factory.mktemp("listwise") / "saved_model"
    lists = listwise_ranker.lists(ratings, per_user=2)
    keras = listwise_ranker.train(lists, ratings.movie_titles, epochs=2)
    listwise_ranker.save(keras, folder)
    return case(keras, folder)
