"""A progress bar for `model.fit`."""

from collections.abc import Callable
from typing import Any

from keras_sllmr.compat import keras


class EpochProgress(keras.callbacks.Callback):
    """Reports steps over all epochs.

    Args:
        report: called with (steps done, all steps).
        done: int. Epochs done before.
        steps: int. Steps an epoch.
        epochs: int. Epochs at most.
    """

    def __init__(
        self, report: Callable[[int, int], None], done: int, steps: int, epochs: int
    ) -> None:
        super().__init__()
        # Steps' logs are not read; a parameter server's worker may still owe them.
        self._supports_tf_logs = True
        self._report, self._steps, self._total = report, steps, steps * epochs
        self._before = done * steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch."""
        self._before = epoch * self._steps

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Moves the bar."""
        self._report(self._before + batch + 1, self._total)
