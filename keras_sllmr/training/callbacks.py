"""Callbacks: validation AUC, the gate's weights by slice, and resumable training."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json, write_json


class SampledAUC(keras.callbacks.Callback):
    """Adds `val_auc_sampled` to each epoch's logs.

    Args:
        positives: dataset of feature batches, the rows' positives.
        negatives: the same rows with their sampled negatives.
    """

    def __init__(self, positives: Any, negatives: Any) -> None:
        super().__init__()
        self._datasets = (positives.cache(), negatives.cache())
        self._predict = tf.function(lambda x: self.model(x, training=False))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Scores the rows."""
        from sklearn.metrics import roc_auc_score

        parts = [self._scores(dataset) for dataset in self._datasets]
        labels = np.repeat([1, 0], [len(part) for part in parts])
        scores = np.concatenate(parts)
        finite = np.isfinite(scores).all()
        if logs is not None:
            logs["val_auc_sampled"] = (
                float(roc_auc_score(labels, scores)) if finite else np.nan
            )

    def _scores(self, dataset: Any) -> np.ndarray:
        return np.concatenate([self._predict(batch).numpy()[:, 0] for batch in dataset])


class GateMonitor(keras.callbacks.Callback):
    """Adds the gate's mean α, overall and by slice, to each epoch's logs.

    Over the pairs that the LLM orders in a fixed block of users: `alpha`,
    `alpha_cold`, `alpha_warm` (by user), `alpha_tail` (a tail item in the pair) and
    `alpha_head`; and the gate's weights as `gate_<signal>` and `gate_bias`.

    Args:
        block: a guidance block, see `training.batch`.
        users_at_once: int. Users weighed at a time. Defaults to `32`.
    """

    def __init__(self, block: dict[str, Any], *, users_at_once: int = 32) -> None:
        super().__init__()
        # Parts bound the memory: a block of 256 users can be 10,000 rows.
        users = block["signals"]["cold"].shape[0]
        self._parts = [
            tf.nest.map_structure(lambda x, i=i: x[i : i + users_at_once], block)
            for i in range(0, users, users_at_once)
        ]
        self._weigh = tf.function(self._sums)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates the gate."""
        if logs is None:
            return
        parts = [self._weigh(part) for part in self._parts]
        for name in parts[0]:
            total, pairs = np.sum([part[name] for part in parts], axis=0)
            if name == "alpha":
                logs["alpha_pairs"] = float(pairs)
            if pairs:
                logs[name] = float(total / pairs)
        gate = self.model.gate
        for signal, value in zip(gate.signals, gate.weight.numpy(), strict=True):
            logs[f"gate_{signal}"] = float(value)
        logs["gate_bias"] = float(gate.bias)

    def _sums(self, block: dict[str, Any]) -> dict[str, Any]:
        """The sum of α and the number of ordered pairs, by slice."""
        alpha, gaps = self.model.pair_weights(block)
        ordered = tf.cast(gaps > 0, alpha.dtype)
        cold = block["signals"]["cold"][:, :, None]
        tail = block["signals"]["tail"]
        tail = tf.maximum(tail[:, :, None], tail[:, None, :])
        slices = {
            "alpha": ordered,
            "alpha_cold": ordered * cold,
            "alpha_warm": ordered * (1 - cold),
            "alpha_tail": ordered * tail,
            "alpha_head": ordered * (1 - tail),
        }
        return {
            name: tf.stack([tf.reduce_sum(alpha * mask), tf.reduce_sum(mask)])
            for name, mask in slices.items()
        }


class ResumableTraining(keras.callbacks.Callback):
    """Checkpoints every epoch, keeps the best one's weights, stops when none is better.

    A run that was killed goes on after its last whole epoch: model, optimizer, gate and
    the history are restored. Unlike `EarlyStopping` and `BackupAndRestore` apart, the
    patience survives too.

    Args:
        folder: working folder for checkpoints.
        key: str. Names the run; checkpoints of another key are thrown away.
        monitor: str. Name of the log to maximise. Defaults to `"val_auc_sampled"`.
        patience: int. Epochs without a better one before it stops. Defaults to `2`.
        rows_per_epoch: int. For the logged `rows_per_second`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        key: str = "",
        monitor: str = "val_auc_sampled",
        patience: int = 2,
        rows_per_epoch: int = 0,
    ) -> None:
        super().__init__()
        if patience < 1:
            raise ConfigError(f"`patience` must be positive. Received: {patience=}")
        self.folder, self.key = Path(folder), key
        self.monitor, self.patience = monitor, patience
        self.rows_per_epoch = rows_per_epoch
        #: the logs of each epoch done, as a list of dicts.
        self.epochs: list[dict[str, float]] = []
        self._started = self._last_batch = time.monotonic()

    @property
    def best_epoch(self) -> int:
        """1-based number of the best epoch."""
        values = [logs[self.monitor] for logs in self.epochs]
        return int(np.argmax(values)) + 1

    @property
    def finished(self) -> bool:
        """Whether patience has run out."""
        return bool(self.epochs) and len(self.epochs) - self.best_epoch >= self.patience

    def restore(self, model: Any) -> int:
        """Restores the last checkpoint into a compiled model.

        Returns:
            How many epochs are done.
        """
        if not (self.folder / "progress.json").exists():
            return 0
        progress = read_json(self.folder / "progress.json")
        if progress["key"] != self.key:
            shutil.rmtree(self.folder)
            return 0
        self.epochs = progress["epochs"]
        model.optimizer.build(model.trainable_variables)
        checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        try:
            checkpoint.read(
                str(self.folder / f"epoch-{len(self.epochs)}")
            ).assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            raise self._damage() from error
        return len(self.epochs)

    def load_best(self, model: Any) -> None:
        """Loads the best epoch's weights."""
        try:
            model.load_weights(str(self._best_weights()))
        except (OSError, ValueError, KeyError) as error:
            raise self._damage() from error

    def _damage(self) -> StoreError:
        return StoreError(
            f"The checkpoint in {self.folder} is damaged or of another model. "
            "Remove the folder to train from the start."
        )

    def _best_weights(self) -> Path:
        # A file an epoch: a run killed while it writes leaves the last best one whole.
        return self.folder / f"best-{self.best_epoch}.weights.h5"

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Keeps validation out of the epoch's time."""
        self._last_batch = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes weights first, the progress file last."""
        logs = dict(logs or {})
        if self.monitor not in logs:
            raise ConfigError(
                f"`monitor` must be among the logs: {', '.join(sorted(logs))}. "
                f"Received: monitor={self.monitor!r}"
            )
        seconds = max(self._last_batch - self._started, 1e-9)
        logs["seconds"] = seconds
        if self.rows_per_epoch:
            logs["rows_per_second"] = self.rows_per_epoch / seconds
        number = len(self.epochs) + 1
        self.epochs.append({"epoch": number, **_finite(logs)})
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.best_epoch == number:
            self.model.save_weights(str(self._best_weights()))
        tf.train.Checkpoint(model=self.model, optimizer=self.model.optimizer).write(
            str(self.folder / f"epoch-{number}")
        )
        progress = {"key": self.key, "epochs": self.epochs}
        write_json(self.folder / "progress.json", progress)
        best = set(self.folder.glob("best-*.weights.h5")) - {self._best_weights()}
        for old in {*self.folder.glob(f"epoch-{number - 1}.*"), *best}:
            old.unlink()
        if self.finished:
            self.model.stop_training = True


def _finite(logs: dict[str, Any]) -> dict[str, float]:
    values = {name: float(value) for name, value in logs.items()}
    broken = [name for name, value in values.items() if not np.isfinite(value)]
    if broken:
        raise ConfigError(
            "Training diverged: losses must stay finite. Received: "
            f"{json.dumps({name: str(values[name]) for name in broken})}. Lower the "
            "learning rate or the weight of the regulariser."
        )
    return values
