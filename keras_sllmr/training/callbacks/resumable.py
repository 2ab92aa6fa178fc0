"""Training that goes on after its last whole epoch, and keeps the best one."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json, write_json


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
        agree: function of the monitored value to the one that counts, for several
            workers to stop at the same epoch. Defaults to the value.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        key: str = "",
        monitor: str = "val_auc_sampled",
        patience: int = 2,
        rows_per_epoch: int = 0,
        agree: Callable[[float], float] = float,
    ) -> None:
        super().__init__()
        # Steps' logs are not read; a parameter server's worker may still owe them.
        self._supports_tf_logs = True
        if patience < 1:
            raise ConfigError(f"`patience` must be positive. Received: {patience=}")
        self.folder, self.key = Path(folder), key
        self.monitor, self.patience = monitor, patience
        self.rows_per_epoch, self.agree = rows_per_epoch, agree
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
            kept = tf.train.Checkpoint(weights=model.weights)
            kept.read(str(self._best_weights())).assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            raise self._damage() from error

    def _damage(self) -> StoreError:
        return StoreError(
            f"The checkpoint in {self.folder} is damaged or of another model. "
            "Remove the folder to train from the start."
        )

    def _best_weights(self) -> Path:
        # One an epoch: a run killed while it writes leaves the last best one whole.
        return self.folder / f"best-{self.best_epoch}"

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
        logs[self.monitor] = self.agree(logs[self.monitor])
        seconds = max(self._last_batch - self._started, 1e-9)
        logs["seconds"] = seconds
        if self.rows_per_epoch:
            logs["rows_per_second"] = self.rows_per_epoch / seconds
        number = len(self.epochs) + 1
        self.epochs.append({"epoch": number, **_finite(logs)})
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.best_epoch == number:
            kept = tf.train.Checkpoint(weights=self.model.weights)
            kept.write(str(self._best_weights()))
        tf.train.Checkpoint(model=self.model, optimizer=self.model.optimizer).write(
            str(self.folder / f"epoch-{number}")
        )
        progress = {"key": self.key, "epochs": self.epochs}
        write_json(self.folder / "progress.json", progress)
        best = f"{self._best_weights().name}."
        beaten = [p for p in self.folder.glob("best-*") if not p.name.startswith(best)]
        for old in [*self.folder.glob(f"epoch-{number - 1}.*"), *beaten]:
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
