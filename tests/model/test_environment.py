"""The process environment: what TensorFlow reads at its first import."""

import tensorflow as tf

from tests.support import python


def test_legacy_keras_is_in_use() -> None:
    # TFRS refuses Keras 3 at import.
    assert tf.keras.Model.__module__.startswith("tf_keras.")


def test_tensorflow_imported_before_is_refused() -> None:
    # A bare module stands for TensorFlow: what counts is that it was there first.
    run = python(
        "-c",
        "import sys, types, os; os.environ.pop('TF_USE_LEGACY_KERAS', None); "
        "sys.modules['tensorflow'] = types.ModuleType('tensorflow'); import model",
    )
    assert run.returncode == 1
    assert "import `model` or `export`" in run.stderr


def test_log_level_of_the_user_stays() -> None:
    script = (
        "import os; os.environ['TF_CPP_MIN_LOG_LEVEL'] = '0'; import model; "
        "print(os.environ['TF_CPP_MIN_LOG_LEVEL'], os.environ['TF_USE_LEGACY_KERAS'])"
    )
    assert python("-c", script).stdout.split() == ["0", "1"]
