"""The process environment: what TensorFlow reads at its first import."""

from tests.support import python


def test_legacy_keras_is_in_use() -> None:
    run = python("-c", "import export, tensorflow as tf; print(tf.keras.__version__)")
    assert run.returncode == 0, run.stderr
    # TFRS refuses Keras 3 at import.
    assert run.stdout.startswith("2.")


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
