"""A ranking model as its signature shows it: named features in, named scores out."""

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf

# A public module, though not documented: `tf.lite` itself freezes with it.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from export.features.graph import Graph, Table, matrices
from export.serving import SCORE, ModelError

Array: TypeAlias = npt.NDArray[Any]
Rows: TypeAlias = Mapping[str, Array]

SIGNATURE = "serving_default"
KERAS_FILES = (".keras", ".h5", ".hdf5")
BATCH = 8192

_DTYPES = (tf.string, tf.int32, tf.int64, tf.float32, tf.bool)


@dataclass(frozen=True)
class Feature:
    """One input.

    Attributes:
        name: as in the model.
        dtype: string, int32, int64, float32 or bool.
        shape: rows first, `None`; then a list's length, None where any will do.
    """

    name: str
    dtype: tf.DType
    shape: tuple[int | None, ...]

    @property
    def spec(self) -> tf.TensorSpec:
        """What a TensorFlow function takes for it."""
        return tf.TensorSpec(self.shape, self.dtype, self.name)

    def __str__(self) -> str:
        dimensions = ", ".join("n" if size is None else str(size) for size in self.shape)
        return f"{self.name}: {self.dtype.name}[{dimensions}]"


@dataclass(frozen=True)
class FeatureModel:
    """A trained model, taken from its SavedModel signature.

    Attributes:
        name: of its file or folder.
        features: the inputs that its outputs depend on, by name.
        unused: names of the others, such as a label: no input of the file.
        outputs: tensors of the graph by the outputs' names.
        graph: the signature, inlined and without variables.
        placeholders: the features' nodes in the graph, by name of the feature.
        tables: look-up tables' content, by their placeholder in the graph.
    """

    name: str
    features: tuple[Feature, ...]
    unused: tuple[str, ...]
    outputs: Mapping[str, str]
    graph: Graph
    placeholders: Mapping[str, str]
    tables: Mapping[str, Table]
    _signature: Any
    _answers: Mapping[str, str]

    @property
    def matrices(self) -> tuple[npt.NDArray[np.float32], ...]:
        """The trained tables and kernels that the outputs depend on."""
        return matrices(self.graph, list(self.outputs.values()))

    def score(self, rows: Rows) -> dict[str, npt.NDArray[np.float32]]:
        """What the model itself answers, in TensorFlow, in batches.

        Args:
            rows: features by name, strings as `bytes` objects; those unused are left out.

        Returns:
            Each output's scores, `float32[n]` or `float32[n, list]`.
        """
        parts: dict[str, list[Array]] = {name: [] for name in self.outputs}
        size = len(next(iter(rows.values())))
        for start in range(0, size, BATCH):
            batch = {
                feature.name: tf.constant(rows[feature.name][start : start + BATCH], feature.dtype)
                for feature in self.features
            }
            answer = self._signature(**batch, **self._blank(min(BATCH, size - start)))
            for name in self.outputs:
                parts[name].append(squeezed(answer[self._answers[name]]).numpy())
        return {name: np.concatenate(values) for name, values in parts.items()}

    def _blank(self, size: int) -> dict[str, tf.Tensor]:
        """Values for the inputs that no output depends on."""
        specs = self._signature.structured_input_signature[1]
        return {
            name: tf.zeros([size, *(d or 1 for d in specs[name].shape[1:])], specs[name].dtype)
            for name in self.unused
        }


def squeezed(scores: tf.Tensor) -> tf.Tensor:
    """Scores without a last dimension of one: `[n, 1]` as `[n]`."""
    rank = scores.shape.rank
    return tf.squeeze(scores, -1) if rank and rank > 1 and scores.shape[-1] == 1 else scores


def load(path: Path) -> FeatureModel:
    """Loads a SavedModel folder, or a `.keras` or HDF5 file, of any Keras model.

    Raises:
        ModelError: it can't be loaded, or its signature isn't one of named, dense features.
    """
    if path.suffix in KERAS_FILES and path.is_file():
        # Its signature comes from saving it as a SavedModel: there is one way on from here.
        keras = _keras(path)
        with tempfile.TemporaryDirectory() as folder:
            keras.save(folder, save_format="tf")
            return _read(Path(folder), path.name, lambda: _layers(keras))
    if not (path / "saved_model.pb").is_file():
        raise ModelError(
            f"{path} is no SavedModel folder (no saved_model.pb) and no .keras or .h5 file: save "
            "the model with `model.save(FOLDER, save_format='tf')`"
        )

    def layers() -> dict[str, str]:
        try:
            return _layers(_keras(path))
        except ModelError:
            return {}  # Its ops' names have to do.

    return _read(path, path.name, layers)


def _keras(path: Path) -> tf.keras.Model:
    # TFRS's layers register themselves with Keras at import.
    import tensorflow_recommenders  # noqa: F401

    try:
        with tempfile.TemporaryDirectory() as folder:
            readable = _compressed(path, Path(folder)) if zipfile.is_zipfile(path) else path
            return tf.keras.models.load_model(str(readable), compile=False)
    except Exception as error:  # Keras raises a dozen kinds for one file.
        raise ModelError(
            f"{path} can't be loaded by Keras ({_first_line(error)}): save the model as a folder, "
            "`model.save(FOLDER, save_format='tf')`, which needs none of its classes"
        ) from error


def _compressed(archive: Path, folder: Path) -> Path:
    """A `.keras` file with its parts compressed.

    Keras stores them as they are, and Python 3.12's zipfile then seeks in TensorFlow's own file
    object, which takes the end of the file for an error.
    """
    target = folder / archive.name
    with (
        zipfile.ZipFile(archive) as given,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as to,
    ):
        for part in given.infolist():
            to.writestr(part.filename, given.read(part))
    return target


def _read(folder: Path, name: str, layers: Callable[[], dict[str, str]]) -> FeatureModel:
    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises a dozen kinds for one damaged folder.
        raise ModelError(f"{folder} can't be loaded: {_first_line(error)}") from error
    signature = _signature(loaded, folder)
    # The signature's tables and variables live as long as what was loaded.
    signature.loaded = loaded
    specs = signature.structured_input_signature[1]
    frozen = convert_variables_to_constants_v2(signature, lower_control_flow=False)
    graph = Graph(frozen.graph, layers)
    names = _output_names(signature.structured_outputs)
    tensors = dict(zip(sorted(signature.structured_outputs), frozen.outputs, strict=True))
    outputs = {names[key]: tensors[key].name for key in tensors}
    used = {node.name for node in graph.order(list(outputs.values()))}
    placeholders = dict(zip(sorted(specs), (i.op.name for i in frozen.inputs), strict=False))
    _check_finite(folder, graph, list(outputs.values()))
    return FeatureModel(
        name=name,
        features=tuple(
            _feature(key, specs[key]) for key in sorted(specs) if placeholders[key] in used
        ),
        unused=tuple(key for key in sorted(specs) if placeholders[key] not in used),
        outputs=outputs,
        graph=graph,
        placeholders=placeholders,
        tables=_tables(signature, graph, used),
        _signature=signature,
        _answers={names[key]: key for key in names},
    )


def _check_finite(folder: Path, graph: Graph, outputs: list[str]) -> None:
    for matrix in matrices(graph, outputs):
        wrong = int(np.sum(~np.isfinite(matrix)))
        if wrong:
            raise ModelError(
                f"{folder}: {wrong:,} of {matrix.size:,} trained numbers of shape "
                f"{list(matrix.shape)} are NaN or infinite: train it again, with a lower "
                "learning rate"
            )


def _signature(loaded: Any, folder: Path) -> Any:
    signatures = dict(getattr(loaded, "signatures", {}))
    if SIGNATURE not in signatures and len(signatures) != 1:
        raise ModelError(
            f"{folder} has no signature {SIGNATURE!r} (it has: {', '.join(signatures) or 'none'}): "
            "call the model on one batch of features before saving it"
        )
    return signatures.get(SIGNATURE) or next(iter(signatures.values()))


def _feature(name: str, spec: tf.TensorSpec) -> Feature:
    if spec.dtype not in _DTYPES or not spec.shape.rank or spec.shape[0] is not None:
        raise ModelError(
            f"the input {name!r} is {spec.dtype.name}{spec.shape}: expected a dense string, int32, "
            "int64, float32 or bool feature with a first dimension of any size, for rows"
        )
    return Feature(name, spec.dtype, tuple(spec.shape))


def _output_names(outputs: Mapping[str, tf.TensorSpec]) -> dict[str, str]:
    """Names of the outputs: a dict's own keys, and `score` for what Keras called `output_1`."""
    for name, spec in outputs.items():
        if spec.dtype != tf.float32:
            raise ModelError(f"the output {name!r} is {spec.dtype.name}: expected float32 scores")
    if len(outputs) == 1:
        (only,) = outputs
        return {only: SCORE if only.removeprefix("output_").isdigit() else only}
    return {name: name for name in outputs}


def _layers(keras: tf.keras.Model) -> dict[str, str]:
    """The layers' classes by name."""
    # What was saved without Keras comes as an object without layers.
    modules = (keras, *keras.submodules) if isinstance(keras, tf.keras.Model) else ()
    return {m.name: type(m).__name__ for m in modules if isinstance(m, tf.keras.layers.Layer)}


def _tables(signature: Any, graph: Graph, used: set[str]) -> dict[str, Table]:
    """Every look-up table's content; unlike a table, that can be written as builtins."""
    handles = {inner.op.name: outer for outer, inner in signature.graph.captures}
    found = {}
    for node in graph.definition.node:
        if node.op == "LookupTableFindV2" and node.name in used:
            placeholder = graph.origin(node.input[0]).name
            keys, values = tf.raw_ops.LookupTableExportV2(
                table_handle=handles[placeholder],
                Tkeys=tf.as_dtype(node.attr["Tin"].type),
                Tvalues=tf.as_dtype(node.attr["Tout"].type),
            )
            found[placeholder] = Table(keys.numpy(), values.numpy())
    return found


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
