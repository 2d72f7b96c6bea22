"""What the files are measured against: Keras, the SavedModel, and the machine itself.

Each runs in a child process and answers as an interpreter does, so all take turns in one run.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.interpreter import serve
from export.runtime import Runtime

SGEMM = "sgemm"
COPY = "copy"
PREDICT = "keras predict"
SAVED_MODEL = "saved_model call"
COPY_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Yardstick(Runtime):
    """A child process that is no TFLite runtime."""

    @property
    def command(self) -> list[str]:
        """What starts its child process."""
        return [sys.executable, "-m", "benchmarks.yardsticks", self.module]


KERAS = Yardstick("keras", "keras", "tf-keras")
MACHINE = Yardstick("machine", "machine", "numpy")


class _Server:
    """Times calls."""

    def _call(self, signature: str, inputs: dict[str, Any]) -> Callable[[], Any]:
        raise NotImplementedError

    def times(self, signature: str, inputs: dict[str, Any], repeats: int) -> list[float]:
        """Seconds of each of `repeats` calls, after an untimed one."""
        call, seconds = self._call(signature, inputs), []
        call()
        for _ in range(repeats):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        return seconds


class KerasServer(_Server):
    """The trained model in TensorFlow, on one thread."""

    def open(self, model: Path, xnnpack: bool, threads: int) -> dict[str, Any]:
        """Loads a SavedModel folder both ways."""
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        self._keras = tf.keras.models.load_model(str(model), compile=False)
        self._saved = tf.saved_model.load(str(model)).signatures["serving_default"]
        return {PREDICT: {}, SAVED_MODEL: {}}

    def _call(self, signature: str, inputs: dict[str, Any]) -> Callable[[], Any]:
        import tensorflow as tf

        tensors = {name: tf.constant(value, tf.string) for name, value in inputs.items()}
        if signature == SAVED_MODEL:
            return lambda: self._saved(**tensors)
        size = len(next(iter(inputs.values())))
        return lambda: self._keras.predict(tensors, batch_size=size, verbose=0)


class MachineServer(_Server):
    """The machine's own rates: NumPy's matrix product and copy, on one thread."""

    def open(self, model: bytes, xnnpack: bool, threads: int) -> dict[str, Any]:
        """Limits the threads."""
        # Set to spare older OpenBLAS builds wrong kernels; they slow this one down.
        for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
            os.environ.pop(name, None)
        import numpy as np
        from threadpoolctl import threadpool_limits

        self._numpy = np
        self._limits = threadpool_limits(threads)
        return {SGEMM: {}, COPY: {}}

    def _call(self, signature: str, inputs: dict[str, Any]) -> Callable[[], Any]:
        np = self._numpy
        if signature == COPY:
            source = np.ones(COPY_BYTES // 4, np.float32)
            target = np.empty_like(source)
            return lambda: np.copyto(target, source)
        rows, inner, columns = (int(size) for size in inputs["shape"])
        random = np.random.default_rng(0)
        left = random.standard_normal((rows, inner), np.float32)
        right = random.standard_normal((inner, columns), np.float32)
        output = np.empty((rows, columns), np.float32)
        return lambda: np.matmul(left, right, out=output)


if __name__ == "__main__":
    kinds = {"keras": KerasServer, "machine": MachineServer}
    serve(kinds[sys.argv[1]])
