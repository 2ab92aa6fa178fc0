"""The reference: what a plain model knows, for the LLM to add to."""

from pathlib import Path
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.training.batch import PROBES
from keras_sllmr.training.callbacks.resumable import ResumableTraining
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.selective_model import SelectiveModel

_GATE_STEPS, _GATE_RATE = 300, 0.05


def fit_reference(
    model: SelectiveModel,
    data: TrainingData,
    folder: Path,
    *,
    key: str,
    epochs: int,
    callbacks: list[Any],
) -> list[dict[str, float]]:
    """Trains a plain model on the labelled rows for as long as its chances improve.

    It stops at the best validation log-likelihood, which comes before the best AUC:
    later the order still improves, but the margins are too sure of themselves to be
    weighed against the LLM's.

    Args:
        model: a compiled model.
        data: gives the labelled rows; without the gate's probes, so that the reference
            is out of sample there.
        folder: for checkpoints.
        key: see `ResumableTraining`.
        epochs: int. At most.
        callbacks: those that add `val_log_likelihood` to the logs.

    Returns:
        The logs of each epoch.
    """
    resumable = ResumableTraining(
        folder, key=key, monitor="val_log_likelihood", patience=1
    )
    done = resumable.restore(model)
    if done < epochs and not resumable.finished:
        model.fit(
            data.dataset(first_epoch=done, blocks=()),
            epochs=epochs,
            initial_epoch=done,
            steps_per_epoch=data.steps_per_epoch,
            callbacks=[*callbacks, resumable],
            verbose=0,
        )
    resumable.load_best(model)
    return resumable.epochs


def fit_gate(model: SelectiveModel, data: TrainingData) -> None:
    """Fits the gate to its probes, for good: all it looks at is known before training.

    Args:
        model: its gate has a prior and the objective `agreement`.
        data: gives the probes, with a reference's logits.
    """
    probes, _ = data.blocks[PROBES]
    block = data.block_features(probes, tf.range(len(probes)))
    optimizer = keras.optimizers.Adam(_GATE_RATE, jit_compile=False)
    weights = model.gate.trainable_weights
    optimizer.build(weights)

    @tf.function
    def fit() -> None:
        for _ in tf.range(_GATE_STEPS):
            with tf.GradientTape() as tape:
                loss = model.gate_loss(block)
            optimizer.apply_gradients(
                zip(tape.gradient(loss, weights), weights, strict=True)
            )

    fit()
    model.gate.trainable = False
