"""The process environment: the only module that sets environment variables.

TensorFlow reads these once, at its first import, so importing this module must come first;
both packages' `__init__` do that.
"""

import json
import os
import sys
from collections.abc import Sequence


def prepare() -> None:
    """Sets what TensorFlow reads at import.

    Raises:
        RuntimeError: TensorFlow is already imported and runs Keras 3, which TFRS refuses and
            whose models the TFLite converter can drop weights of without an error.
    """
    tensorflow = sys.modules.get("tensorflow")
    already = tensorflow is not None and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true")
    if already:
        raise RuntimeError(
            "tensorflow was imported before this package, with Keras 3: import `model` or `export` "
            "first, or set TF_USE_LEGACY_KERAS=1"
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    # 3 leaves fatal errors only; a user who wants TensorFlow's log sets the variable.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # No GPU is used: without this, TensorFlow looks for CUDA at start and says so.
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


def names_workers() -> bool:
    """Whether TF_CONFIG is set: it names the workers of a cluster, and which one this is."""
    return bool(os.environ.get("TF_CONFIG"))


def of_worker(addresses: Sequence[str], index: int) -> dict[str, str]:
    """This process's environment for one worker of a cluster, by all workers' `host:port`."""
    cluster = {"cluster": {"worker": list(addresses)}, "task": {"type": "worker", "index": index}}
    return {**os.environ, "TF_CONFIG": json.dumps(cluster)}


prepare()
