"""Serving signatures: a trained ranker as TensorFlow functions from string ids to scores."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Float32 = npt.NDArray[np.float32]

USER = "user_id"
CANDIDATE = "movie_title"
SCORE = "score"
ORDER = "order"
COUNT = "k"
SEEN = "seen"
INDEX = "index"

# Names of each signature's inputs and outputs, in the order that people read them.
SIGNATURES: dict[str, dict[str, list[str]]] = {
    "score": {"inputs": [USER, CANDIDATE], "outputs": [SCORE]},
    "rank": {"inputs": [USER, CANDIDATE], "outputs": [SCORE, ORDER]},
    "recommend": {"inputs": [USER, COUNT, SEEN], "outputs": [CANDIDATE, INDEX, SCORE]},
}


class ModelError(ValueError):
    """The model can't be loaded, or is not a ranker that can be exported."""


class OtherPartsError(ModelError):
    """The model is no ranker of the tutorial's parts: `export.features` takes such ones."""


@dataclass(frozen=True)
class Tower:
    """One id feature: its `StringLookup` layer and its embedding table.

    Attributes:
        lookup: the layer itself; id 0 is out-of-vocabulary. None where no id is known.
        vocabulary: known ids, in the order of rows 1, 2, …
        table: `float32[len(vocabulary) + 1, dimension]`; row 0 is out-of-vocabulary.
    """

    lookup: tf.keras.layers.StringLookup | None
    vocabulary: tuple[str, ...]
    table: Float32


@dataclass(frozen=True)
class DenseLayer:
    """A dense layer: kernel `float32[in, out]`, bias `float32[out]`, with relu or without."""

    kernel: Float32
    bias: Float32
    relu: bool


@dataclass(frozen=True)
class Ranker:
    """What is exported: two towers, concatenated user first, then dense layers to one score."""

    users: Tower
    candidates: Tower
    dense: tuple[DenseLayer, ...]

    @property
    def parameters(self) -> int:
        """How many trained numbers there are: a dropped weight shows in the file's count."""
        arrays = [self.users.table, self.candidates.table]
        arrays += [array for layer in self.dense for array in (layer.kernel, layer.bias)]
        return sum(array.size for array in arrays)


def load(saved_model: Path) -> tf.keras.Model:
    """Loads a trained Keras model from a SavedModel folder.

    Raises:
        ModelError: there is none, or it is damaged.
    """
    if not (saved_model / "saved_model.pb").is_file():
        raise ModelError(
            f"{saved_model} is not a SavedModel folder (no saved_model.pb): "
            "make one with `python -m model.train --output DIR`, then give DIR/saved_model"
        )
    try:
        return tf.keras.models.load_model(str(saved_model), compile=False)
    except Exception as error:  # Keras raises a dozen kinds for one damaged folder.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{saved_model} can't be loaded, train it again: {reason}") from error


def ranker_of(model: tf.keras.Model) -> Ranker:
    """Takes a trained model apart.

    Args:
        model: a `MovielensModel`, fresh or loaded again, or any model with a `ranking_model` of
            the same shape: `user_embeddings` and `movie_embeddings` (StringLookup, Embedding)
            and `ratings` (Dense layers).

    Raises:
        OtherPartsError: it has other parts; the message names the first one.
        ModelError: its trained numbers are not all finite.
    """
    user, candidate = embedding_layers(model)
    # Dropout does nothing once a model is trained.
    dense = [one for one in _layers(model, "ratings") if type(one).__name__ != "Dropout"]
    return Ranker(
        users=_tower("user_embeddings", *user),
        candidates=_tower("movie_embeddings", *candidate),
        dense=tuple(_dense(layer) for layer in dense),
    )


def embedding_layers(model: tf.keras.Model) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """The StringLookup and the Embedding layer of users, and those of candidates.

    Raises:
        OtherPartsError: the model has other parts.
    """
    found = []
    for name in ("user_embeddings", "movie_embeddings"):
        layers = _layers(model, name)
        kinds = [type(layer).__name__ for layer in layers]
        if kinds != ["StringLookup", "Embedding"]:
            raise OtherPartsError(
                f"{name} is {' + '.join(kinds)}: expected StringLookup + Embedding"
            )
        found.append((layers[0], layers[1]))
    return found[0], found[1]


def _layers(model: tf.keras.Model, name: str) -> list[Any]:
    inner = getattr(model, "ranking_model", model)
    layers = getattr(getattr(inner, name, None), "layers", None)
    if not layers:
        raise OtherPartsError(f"the model has no {name!r}: expected the tutorial's RankingModel")
    return list(layers)


def _tower(name: str, lookup: Any, embedding: Any) -> Tower:
    if lookup.mask_token is not None or lookup.num_oov_indices != 1:
        raise OtherPartsError(
            f"{name}: StringLookup needs mask_token=None and one out-of-vocabulary id"
        )
    vocabulary = tuple(lookup.get_vocabulary()[1:])
    if not vocabulary:
        # Neither Keras nor any runtime looks up in a table without a key.
        raise ModelError(f"{name} knows no id: give its StringLookup a vocabulary, and train it")
    return Tower(lookup, vocabulary, _finite(name, embedding.embeddings))


def _finite(name: str, weights: Any) -> Float32:
    """Trained numbers as `float32`.

    Raises:
        ModelError: some are NaN or infinite.
    """
    array = np.asarray(weights, np.float32)
    wrong = int(np.sum(~np.isfinite(array)))
    if wrong:
        raise ModelError(
            f"{name}: {wrong:,} of {array.size:,} trained numbers are NaN or infinite: "
            "train it again, with a lower learning rate"
        )
    return array


def _dense(layer: Any) -> DenseLayer:
    activation = getattr(getattr(layer, "activation", None), "__name__", type(layer).__name__)
    if activation not in ("relu", "linear"):
        raise OtherPartsError(
            f"ratings: {layer.name} has {activation}: expected Dense, relu or linear"
        )
    kernel, bias = (_finite(f"ratings, {layer.name}", weight) for weight in layer.get_weights())
    return DenseLayer(kernel, bias, relu=activation == "relu")


def _fresh(lookup: Any) -> Any:
    """A look-up made anew: a loaded one is traced in another order, and would give other bytes."""
    if lookup is None:
        return None
    vocabulary = lookup.get_vocabulary(include_special_tokens=False)
    return tf.keras.layers.StringLookup(vocabulary=vocabulary, mask_token=None)


class ServingModule(tf.Module):
    """The signatures. All keep the StringLookup layers, so ids go in as strings.

    Every lookup's ids are reshaped to `[n]` at once: the converter leaves a lookup's output
    without a shape, which makes XNNPACK refuse a quantized graph at its first run.
    """

    def __init__(self, ranker: Ranker) -> None:
        super().__init__()
        self._ranker = ranker
        # The lookups' tables are resources that a SavedModel must track.
        self._lookups = [_fresh(ranker.users.lookup), _fresh(ranker.candidates.lookup)]
        self._tables = [tf.constant(t.table) for t in (ranker.users, ranker.candidates)]
        self._kernels = [tf.constant(layer.kernel) for layer in ranker.dense]
        self._biases = [tf.constant(layer.bias) for layer in ranker.dense]

    def _ids(self, tower: int, ids: tf.Tensor, beside: tf.Tensor) -> tf.Tensor:
        """Rows' numbers, `int64[n]`, of ids `string[n]`; 0 where unknown.

        `beside` is another input, of any size: where nobody is known, rows' number 0 is computed
        from it, since the converter would fold a constant and all that follows from it.
        """
        lookup = self._lookups[tower]
        if lookup is None:
            zero = tf.minimum(tf.size(beside, tf.int64), 0)
            return tf.fill(tf.shape(ids), zero)
        return tf.reshape(lookup(ids), [-1])

    def _after_first(self, hidden: tf.Tensor) -> tf.Tensor:
        """From the first layer's sums, `float32[n, units]`, to scores, `float32[n]`."""
        for index, layer in enumerate(self._ranker.dense):
            if index:
                hidden = tf.matmul(hidden, self._kernels[index]) + self._biases[index]
            if layer.relu:
                hidden = tf.nn.relu(hidden)
        return tf.reshape(hidden, [-1])

    def _candidate_sums(self, ids: tf.Tensor) -> tf.Tensor:
        """Candidates' half of the first layer, `float32[n, units]`, by rows' numbers."""
        dimension = self._ranker.users.table.shape[1]
        return tf.matmul(tf.gather(self._tables[1], ids), self._kernels[0][dimension:])

    def _scores(self, user_id: tf.Tensor, ids: tf.Tensor, beside: tf.Tensor) -> tf.Tensor:
        """Scores, `float32[n]`, of users, `string[n]` or `string[1]`, with candidates' rows.

        The first layer is taken in halves, W [u; m] = Wu u + Wm m: one user's half is then
        computed once for all candidates. All signatures take it so, to share its weights.
        """
        rows = tf.gather(self._tables[0], self._ids(0, user_id, beside))
        kernel = self._kernels[0][: self._ranker.users.table.shape[1]]
        user = tf.matmul(rows, kernel) + self._biases[0]
        return self._after_first(user + self._candidate_sums(ids))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, USER),
            tf.TensorSpec([None], tf.string, CANDIDATE),
        ]
    )
    def score(self, user_id: tf.Tensor, movie_title: tf.Tensor) -> dict[str, tf.Tensor]:
        """Scores pairs: two `string[n]` to `score: float32[n]`; n may be 0."""
        return {SCORE: self._scores(user_id, self._ids(1, movie_title, user_id), movie_title)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([1], tf.string, USER),
            tf.TensorSpec([None], tf.string, CANDIDATE),
        ]
    )
    def rank(self, user_id: tf.Tensor, movie_title: tf.Tensor) -> dict[str, tf.Tensor]:
        """Ranks candidates, `string[n]`, n at least 1, for one user, `string[1]`.

        Returns:
            `score: float32[n]`, and `order: int32[n]`, the candidates' positions from best to
            worst; equal scores keep their order.
        """
        scores = self._scores(user_id, self._ids(1, movie_title, user_id), movie_title)
        order = tf.math.top_k(scores, tf.size(scores)).indices
        return {SCORE: scores, ORDER: order}

    @tf.function(
        input_signature=[
            tf.TensorSpec([1], tf.string, USER),
            tf.TensorSpec([1], tf.int32, COUNT),
            tf.TensorSpec([None], tf.string, SEEN),
        ]
    )
    def recommend(self, user_id: tf.Tensor, k: tf.Tensor, seen: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best of the whole catalogue for one user, `string[1]`.

        Args:
            user_id: the user.
            k: `int32[1]`, how many; clamped to 1 … the candidates not seen. Where all are seen,
                one comes back with float32's lowest score: TOPK_V2 of none corrupts the heap
                in tflite-runtime 2.14.
            seen: `string[m]`, m at least 1, candidates that must not come back; ids that are
                not known, such as the empty one, exclude nothing.

        Returns:
            `movie_title: string[j]`, `index: int32[j]` (position in the vocabulary) and
            `score: float32[j]`, best first.
        """
        size = len(self._ranker.candidates.vocabulary)
        count = tf.reshape(k, [])
        # Always `size + 1`, but no constant to the converter, which would fold the catalogue's rows
        # (and all that follows from them) into the file.
        limit = tf.maximum(size + 1, tf.minimum(count, 1))
        # A static shape again, which lets XNNPACK take all that follows.
        ids = tf.reshape(tf.range(1, limit), [size])
        scores = self._scores(user_id, ids, seen)
        seen_ids = tf.cast(self._ids(1, seen, user_id), tf.int32)
        ones = tf.minimum(seen_ids + 1, 1)  # In two ops where ones_like takes four.
        hits = tf.scatter_nd(seen_ids[:, None], ones, [size + 1])[1:]
        unseen = size - tf.reduce_sum(tf.minimum(hits, 1))
        allowed = tf.where(hits > 0, np.finfo(np.float32).min, scores)
        best = tf.math.top_k(allowed, tf.maximum(tf.minimum(count, unseen), 1))
        titles = tf.gather(tf.constant(self._ranker.candidates.vocabulary), best.indices)
        return {CANDIDATE: titles, INDEX: best.indices, SCORE: best.values}

    @property
    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """Every signature by name."""
        return {"score": self.score, "rank": self.rank, "recommend": self.recommend}
