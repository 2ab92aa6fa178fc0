"""Batches for `model.fit`: of one process, of a strategy, or from the tf.data service."""

from collections.abc import Callable, Sequence
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.training.batch import GUIDANCE, PROBES
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.plan_files import PlanFiles
from keras_sllmr.training.share import Share

_STEPS_AHEAD = 256

SERVICE_RULE = "The tf.data service must have one worker, which was never restarted."

#: From the first epoch, its first step and the blocks' names to what `model.fit` takes.
Batches = Callable[[int, int, Sequence[str]], Any]


def replica_batches(
    data: TrainingData,
    strategy: Any = None,
    *,
    first_epoch: int = 0,
    first_step: int = 0,
    blocks: Sequence[str] = (GUIDANCE, PROBES),
    plans: PlanFiles | None = None,
    service: str | None = None,
) -> Any:
    """The batches of `data`, each dealt out to a strategy's replicas.

    Every worker draws the same plan and gathers the features of its own replicas' rows
    alone, so that no batch has to be split after it was made.

    Args:
        data: makes the batches.
        strategy: a `tf.distribute.Strategy`. Defaults to none: whole batches.
        first_epoch: int. Epoch to start with.
        first_step: int. Step of it to start with. Servers' workers draw anew.
        blocks: names of the blocks beside the labelled rows.
        plans: of the epochs to come; needed with `service`. Defaults to plans that
            are drawn in this process, without end.
        service: address of a tf.data service that gathers the features, e.g.
            `"grpc://host:5000"`. Defaults to this process. See `served`.

    Raises:
        ConfigError: when a batch does not divide by the replicas.

    Example:
        >>> strategy = tf.distribute.MirroredStrategy()           # doctest: +SKIP
        >>> batches = replica_batches(data, strategy)             # doctest: +SKIP
        >>> model.fit(batches, steps_per_epoch=data.steps_per_epoch)  # doctest: +SKIP
    """

    def made(share: Share | None) -> Any:
        dataset = data.dataset(
            first_epoch=first_epoch,
            first_step=first_step,
            epochs=None if plans is None else plans.epochs.stop,
            blocks=blocks,
            share=share,
            plans=plans,
        )
        return dataset if service is None else served(dataset, service)

    def of_worker(context: Any) -> Any:
        each = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * each
        return made(Share(context.num_replicas_in_sync, first, each))

    def of_server_worker(context: Any) -> Any:
        # Each worker runs the same graph: its own random order keeps them apart.
        batches = made(None)
        return batches.shuffle(_STEPS_AHEAD).repeat()

    if strategy is None:
        return made(None)
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        return keras.utils.experimental.DatasetCreator(of_server_worker)
    return strategy.distribute_datasets_from_function(of_worker)


def served(dataset: Any, service: str) -> Any:
    """A dataset that a tf.data service runs, in the same order as it would run here.

    The service must have one worker: each further one would run the dataset from its
    beginning, too. Elements out of order, as they come then or after that worker was
    started again, are an error in place of a silent repetition.

    Args:
        dataset: a `tf.data.Dataset`, without Python functions.
        service: the dispatcher's address, `"grpc://host:port"`.
    """
    there = tf.data.experimental.service.distribute(
        processing_mode=tf.data.experimental.service.ShardingPolicy.OFF,
        service=service,
    )

    def in_order(place: Any, element: Any) -> Any:
        given, batch = element
        right = tf.debugging.assert_equal(given, place, SERVICE_RULE)
        with tf.control_dependencies([right]):
            return tf.nest.map_structure(tf.identity, batch)

    return dataset.enumerate().apply(there).enumerate().map(in_order).prefetch(8)
