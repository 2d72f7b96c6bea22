"""Conversion: serving signatures to a float32 `.tflite`, with builtin ops only."""

import tempfile

import tensorflow as tf

from export import flatbuffer, serving


class ConversionError(RuntimeError):
    """TensorFlow's converter refused the signatures."""


def to_float32(module: serving.ServingModule) -> bytes:
    """Converts all signatures of a module into one float32 model.

    A SavedModel in a scratch folder stands between, since the lookups' hash tables convert
    from there alone. Recipes are applied afterwards, to these bytes.

    Raises:
        ConversionError: an op has no builtin, or the file would be too large.
    """
    signatures = module.signatures
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        # Builtins alone: a Flex op would need TensorFlow itself on the phone.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            model: bytes = converter.convert()
        except Exception as error:  # The converter raises its own and plain exceptions.
            first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
            raise ConversionError(f"TensorFlow's converter failed: {first}") from error
    flatbuffer.read(model)
    return model
