"""The signature of a model with named features, in ops that TFLite has."""

from collections.abc import Callable

import tensorflow as tf

from export.features import substitutes
from export.features.model import FeatureModel, squeezed

SIGNATURE = "score"


class FeatureModule(tf.Module):
    """One signature, `score`: features by name to scores by name, rows in any number."""

    def __init__(self, model: FeatureModel) -> None:
        super().__init__()
        self._model = model
        self._lookups = {
            placeholder: substitutes.lookup_of(table) for placeholder, table in model.tables.items()
        }
        self._score = tf.function(
            self._scores, input_signature=[{f.name: f.spec for f in model.features}]
        )

    def _scores(self, features: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        model = self._model
        feeds = {model.placeholders[name]: tensor for name, tensor in features.items()}
        tensors = list(model.outputs.values())
        scores = model.graph.replay(feeds | self._lookups, tensors, substitutes.SUBSTITUTES)
        return {name: squeezed(value) for name, value in zip(model.outputs, scores, strict=True)}

    @property
    def signatures(self) -> dict[str, Callable[..., dict[str, tf.Tensor]]]:
        """Every signature by name."""
        return {SIGNATURE: self._score}
