"""The reference: what a plain model knows, for the LLM to add to."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.replicas import replicas
from keras_sllmr.training.batch import PROBES
from keras_sllmr.training.batches import Batches
from keras_sllmr.training.callbacks.resumable import ResumableTraining
from keras_sllmr.training.callbacks.weight_average import WeightAverage
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.selective_model import SelectiveModel

_GATE_STEPS, _GATE_RATE = 300, 0.05


def fit_reference(
    model: SelectiveModel,
    average: SelectiveModel,
    data: TrainingData,
    folder: Path,
    *,
    key: str,
    epochs: int,
    monitors: list[Any],
    callbacks: Sequence[Any] = (),
    batches: Batches | None = None,
    every: int | None = None,
    agree: Callable[[float], float] = float,
) -> list[dict[str, float]]:
    """Trains a plain model on the labelled rows for as long as its mean improves.

    The reference is the mean of the weights of all epochs: each overfits elsewhere, and
    the mean's chances are far better. Training stops at its best validation
    log-likelihood of calibrated chances. A scale that is wrong everywhere does no harm,
    the gate learns what the margins are worth. The best AUC may come epochs later: the
    order still improves then, but some margins are much surer of themselves than others
    that are as right.

    Args:
        model: a compiled model, which is trained.
        average: another one, which becomes the reference.
        data: gives the labelled rows; without the gate's probes, so that the reference
            is out of sample there.
        folder: for checkpoints.
        key: see `ResumableTraining`.
        epochs: int. At most.
        monitors: callbacks that look at the average, see `WeightAverage`; they add
            `val_log_likelihood` to the logs.
        callbacks: others, e.g. a progress bar.
        batches: see `training.batches`. Defaults to those of `data`.
        every: see `ResumableTraining`.
        agree: likewise.

    Returns:
        The logs of each epoch.
    """
    resumable = ResumableTraining(
        folder,
        key=key,
        monitor="val_log_likelihood",
        patience=1,  # The mean rises and falls smoothly.
        every=every,
        agree=agree,
        kept=average,
    )

    def of_data(epoch: int, step: int, blocks: Sequence[str]) -> Any:
        return data.dataset(first_epoch=epoch, first_step=step, blocks=blocks)

    made = batches or of_data
    resumable.restore(model)
    resumable.fit(
        model,
        lambda epoch, step: made(epoch, step, ()),
        epochs=epochs,
        steps_per_epoch=data.steps_per_epoch,
        callbacks=[WeightAverage(average, monitors=monitors), *callbacks],
    )
    resumable.load_best(average)
    return resumable.epochs


def fit_gate(model: SelectiveModel, data: TrainingData) -> None:
    """Fits the gate to its probes, for good: all it looks at is known before training.

    Args:
        model: its gate has a prior and the objective `agreement`.
        data: gives the probes, with a reference's logits.
    """
    probes, _ = data.blocks[PROBES]
    block = data.block_features(probes, tf.range(len(probes)))
    weights, strategy = model.gate.trainable_weights, model.distribute_strategy
    with strategy.scope():
        optimizer = keras.optimizers.Adam(_GATE_RATE, jit_compile=False)
        optimizer.build(weights)

    def step() -> None:
        # Every replica sees all probes, and gives its share of one gradient.
        with tf.GradientTape() as tape:
            loss = model.gate_loss(block)
            loss = loss / replicas() if replicas() > 1 else loss
        optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )

    @tf.function
    def fit(steps: Any) -> None:
        for _ in tf.range(steps):
            strategy.run(step)

    # Replicas' sums of steps in one loop would overlap, see `SelectiveModel.compile`.
    alone = strategy.num_replicas_in_sync == 1
    for _ in range(1 if alone else _GATE_STEPS):
        fit(tf.constant(_GATE_STEPS if alone else 1))
    model.gate.trainable = False
