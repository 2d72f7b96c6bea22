"""Training on several devices or machines: tf.distribute's strategies, and workers started here.

The global batch stays the tutorial's, so each step sums the same gradients, in another order.
"""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model import data, environment, ranking

NONE = "none"
MIRRORED = "mirrored"
MULTIWORKER = "multiworker"
STRATEGIES = (NONE, MIRRORED, MULTIWORKER)

# Without a GPU, the processor stands for so many devices.
CPU_REPLICAS = 2
POLL_SECONDS = 0.2
ERRORS_SHOWN = 4000


class DistributionError(ValueError):
    """The strategy can't be had here, or a worker failed; the message says what to do."""


def strategy_named(name: str) -> tf.distribute.Strategy | None:
    """Makes a strategy; before anything else is done with TensorFlow, which fixes the devices.

    Args:
        name: `none`; `mirrored`, over all GPUs, or over the processor as two devices;
            `multiworker`, one of the workers that TF_CONFIG names.

    Raises:
        DistributionError: unknown, or TF_CONFIG is not set.
    """
    if name == NONE:
        return None
    if name == MIRRORED:
        if tf.config.list_physical_devices("GPU"):
            return tf.distribute.MirroredStrategy()
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(CPU_REPLICAS)]
        (processor,) = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, parts)
        return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(CPU_REPLICAS)])
    if name == MULTIWORKER:
        if not environment.names_workers():
            raise DistributionError(
                "multiworker needs TF_CONFIG, set for each worker; "
                "or --workers 2, which starts two on this machine"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    raise DistributionError(f"unknown strategy {name!r}: choose from {', '.join(STRATEGIES)}")


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that saves and reports."""
    resolver = None if strategy is None else strategy.cluster_resolver
    # In a cluster without a chief of its own, TensorFlow takes the first worker.
    return resolver is None or resolver.task_type == "chief" or resolver.task_id in (None, 0)


def fit(
    strategy: tf.distribute.Strategy,
    model: ranking.MovielensModel,
    ratings: data.Ratings,
    batches: tf.data.Dataset,
    epochs: int,
    callbacks: Sequence[Any],
) -> None:
    """Trains a plain model by a strategy: its weights go in, and the trained ones come back.

    Args:
        strategy: made by `strategy_named`.
        model: what is trained; without weights yet, or with some.
        ratings: for the vocabularies.
        batches: global ones; each replica takes its part.
        epochs: passes over the batches.
        callbacks: Keras's.
    """
    # Not from the batches: each pass over them is shuffled anew until they are cached.
    example = {
        "user_id": tf.constant(ratings.user_ids[:1]),
        "movie_title": tf.constant(ratings.movie_titles[:1]),
    }
    model(example)
    with strategy.scope():
        replicas = Replicas(ratings.user_ids, ratings.movie_titles)
        replicas.compile(optimizer=tf.keras.optimizers.Adagrad(ranking.LEARNING_RATE))
        # Metrics are whole already; Keras would add those of all workers.
        replicas.distribute_reduction_method = "first"
        replicas(example)
        replicas.set_weights(_trained(model))
    # Every worker reads all ratings and takes its part of each batch: not of the files.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.with_options(options)
    replicas.fit(batches, epochs=epochs, verbose=0, callbacks=list(callbacks))
    model.set_weights(_trained(replicas))


def _trained(model: ranking.MovielensModel) -> list[Any]:
    return list(model.get_weights())


class Replicas(ranking.MovielensModel):
    """The tutorial's model as one of several replicas.

    Keras refuses a mean over the batch here, where a replica sees only its part. So the parts'
    sums are divided by the whole batch's size, which the last batch of an epoch shortens.
    """

    def __init__(self, unique_user_ids: ranking.Ids, unique_movie_titles: ranking.Ids) -> None:
        super().__init__(unique_user_ids, unique_movie_titles)
        self.task._loss = tf.keras.losses.MeanSquaredError(tf.keras.losses.Reduction.SUM)

    def compute_loss(self, features: dict[str, tf.Tensor], training: bool = False) -> Any:
        """This replica's share of the mean squared error over the global batch."""
        rows = tf.cast(tf.shape(features["user_rating"])[0], tf.float32)
        # A column, as predictions are: of plain labels Keras takes the mean before the sum.
        features["user_rating"] = features["user_rating"][:, tf.newaxis]
        everywhere = tf.distribute.get_replica_context().all_reduce(
            tf.distribute.ReduceOp.SUM, rows
        )
        return super().compute_loss(features, training) / everywhere


def run_workers(module: str, arguments: Sequence[str], workers: int) -> None:
    """Runs a module in several processes of one cluster on this machine, to their end.

    Args:
        module: what `python -m` takes.
        arguments: the same for all.
        workers: how many; the first is the chief, whose output is shown.

    Raises:
        DistributionError: one failed; the others are ended.
    """
    addresses = _free_addresses(workers)
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile() as errors:
        running = [
            subprocess.Popen(
                command,
                env=environment.of_worker(addresses, index),
                stdout=None if index == 0 else subprocess.DEVNULL,
                stderr=errors,
            )
            for index in range(workers)
        ]
        try:
            while any(process.poll() is None for process in running):
                failed = [p for p in running if p.poll() not in (None, 0)]
                if failed:
                    break
                time.sleep(POLL_SECONDS)
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
                process.wait()
        if any(process.returncode for process in running):
            errors.seek(0)
            text = errors.read()[-ERRORS_SHOWN:].decode(errors="replace").strip()
            raise DistributionError(f"a worker failed:\n{text}")


def _free_addresses(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("localhost", 0))
        return [f"localhost:{one.getsockname()[1]}" for one in sockets]
    finally:
        for one in sockets:
            one.close()
