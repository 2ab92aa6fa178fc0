"""Training that goes on where it was killed, and keeps the best epoch."""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json, write_json


class ResumableTraining(keras.callbacks.Callback):
    """Checkpoints every epoch, keeps the best one's weights, stops when none is better.

    A run that was killed goes on after its last whole epoch, or the last backup within
    the next: model, optimizer, gate, the history and the means of the metrics that the
    model has from the start are restored. Unlike `EarlyStopping` and `BackupAndRestore`
    apart, the patience survives too.

    Args:
        folder: working folder for checkpoints.
        key: str. Names the run; checkpoints of another key are thrown away.
        monitor: str. Name of the log to maximise. Defaults to `"val_auc_sampled"`.
        patience: int. Epochs without a better one before it stops. Defaults to `2`.
        every: int. Steps between backups within an epoch. Defaults to none: whole
            epochs alone.
        rows_per_epoch: int. For the logged `rows_per_second`.
        agree: function of the monitored value to the one that counts, for several
            workers to stop at the same epoch. Defaults to the value.
        kept: a model that goes along, such as a `WeightAverage`'s: the best epoch's
            weights are its own, and it is restored too. Defaults to the one trained.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        key: str = "",
        monitor: str = "val_auc_sampled",
        patience: int = 2,
        every: int | None = None,
        rows_per_epoch: int = 0,
        agree: Callable[[float], float] = float,
        kept: Any = None,
    ) -> None:
        super().__init__()
        # Steps' logs are not read; a parameter server's worker may still owe them.
        self._supports_tf_logs = True
        if patience < 1:
            raise ConfigError(f"`patience` must be positive. Received: {patience=}")
        if every is not None and every < 1:
            raise ConfigError(f"`every` must be positive. Received: {every=}")
        self.folder, self.key = Path(folder), key
        self.monitor, self.patience, self.every = monitor, patience, every
        self.rows_per_epoch, self.agree = rows_per_epoch, agree
        self._kept = kept
        #: the logs of each epoch done, as a list of dicts.
        self.epochs: list[dict[str, float]] = []
        #: steps done of the epoch after these, and what they took.
        self.steps, self._seconds = 0, 0.0
        self._before = self._backed_up = 0
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
            How many epochs are done; `steps` says how many steps of the next.
        """
        if not (self.folder / "progress.json").exists():
            return 0
        progress = read_json(self.folder / "progress.json")
        if progress["key"] != self.key:
            shutil.rmtree(self.folder)
            return 0
        self.epochs = progress["epochs"]
        self.steps, self._seconds = progress.get("within", (0, 0.0))
        model.optimizer.build(model.trainable_variables)
        self._read(self._last(), **self._state(model))
        return len(self.epochs)

    def fit(
        self,
        model: Any,
        batches: Callable[[int, int], Any],
        *,
        epochs: int,
        steps_per_epoch: int,
        callbacks: Sequence[Any] = (),
    ) -> None:
        """Trains a restored model to its end, as `model.fit` would have.

        Args:
            model: a compiled model, after `restore`.
            batches: function of an epoch and a step of it to the batches from there on.
            epochs: int. How many there are.
            steps_per_epoch: int. Steps of each.
            callbacks: those that come before this one.
        """
        done = len(self.epochs)
        while done < epochs and not self.finished:
            # The rest of an epoch that was begun is a training of its own.
            last, steps = (done + 1 if self.steps else epochs), self.steps
            model.fit(
                batches(done, steps),
                epochs=last,
                initial_epoch=done,
                steps_per_epoch=steps_per_epoch - steps,
                callbacks=[*callbacks, self],
                verbose=0,
            )
            done = last

    def load_best(self, model: Any) -> None:
        """Loads the best epoch's weights into the model that keeps them."""
        self._read(self._best_weights(), weights=model.weights)

    def _state(self, model: Any) -> dict[str, Any]:
        state = {"model": model, "optimizer": model.optimizer}
        return state if self._kept is None else state | {"kept": self._kept}

    def _read(self, path: Path, **objects: Any) -> None:
        try:
            kept = tf.train.Checkpoint(**objects).read(str(path))
            kept.assert_existing_objects_matched()
        except (tf.errors.OpError, AssertionError, ValueError) as error:
            raise StoreError(
                f"The checkpoint in {self.folder} is damaged or of another model. "
                "Remove the folder to train from the start."
            ) from error

    # One name an epoch or backup: a run killed while it writes leaves the last whole.
    def _best_weights(self) -> Path:
        return self.folder / f"best-{self.best_epoch}"

    def _last(self) -> Path:
        name = f"epoch-{len(self.epochs)}"
        return self.folder / (f"{name}-step-{self.steps}" if self.steps else name)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock; goes on with the means of an epoch that was begun."""
        if self.steps:
            means = self.folder / f"{self._last().name}-means"
            self._read(means, metrics=_means(self.model))
        self._before = self._backed_up = self.steps
        self._started = self._last_batch = time.monotonic()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Keeps validation out of the epoch's time; backs up when it is time to."""
        self._last_batch = time.monotonic()
        steps = self._before + batch + 1
        due = self.every is not None and steps - self._backed_up >= self.every
        if not due or batch + 1 >= self.params["steps"]:
            return
        self._seconds += self._last_batch - self._started
        self.steps = self._backed_up = steps
        self._write()
        self._started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes weights first, the progress file last."""
        logs = dict(logs or {})
        if self.monitor not in logs:
            raise ConfigError(
                f"`monitor` must be among the logs: {', '.join(sorted(logs))}. "
                f"Received: monitor={self.monitor!r}"
            )
        logs[self.monitor] = self.agree(logs[self.monitor])
        seconds = max(self._seconds + self._last_batch - self._started, 1e-9)
        logs["seconds"] = seconds
        if self.rows_per_epoch:
            logs["rows_per_second"] = self.rows_per_epoch / seconds
        number = len(self.epochs) + 1
        self.epochs.append({"epoch": number, **_finite(logs)})
        self.steps, self._seconds = 0, 0.0
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.best_epoch == number:
            best: Any = self.model if self._kept is None else self._kept
            kept = tf.train.Checkpoint(weights=best.weights)
            kept.write(str(self._best_weights()))
        self._write()
        if self.finished:
            self.model.stop_training = True

    def _write(self) -> None:
        """Writes the model's state, then the progress that names it."""
        last = self._last()
        last.parent.mkdir(parents=True, exist_ok=True)
        progress: dict[str, Any] = {"key": self.key, "epochs": self.epochs}
        tf.train.Checkpoint(**self._state(self.model)).write(str(last))
        if self.steps:
            means = tf.train.Checkpoint(metrics=_means(self.model))
            means.write(f"{last}-means")
            progress["within"] = [self.steps, self._seconds]
        write_json(self.folder / "progress.json", progress)
        kept = {last.name, f"{last.name}-means"}
        if self.epochs:
            kept.add(self._best_weights().name)
        for old in [*self.folder.glob("epoch-*"), *self.folder.glob("best-*")]:
            if old.name.split(".")[0] not in kept:
                old.unlink()


def _means(model: Any) -> list[Any]:
    """The running means of an epoch's logs."""
    return [value for metric in model.metrics for value in metric.variables]


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
