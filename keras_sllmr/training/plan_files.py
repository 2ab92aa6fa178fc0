"""Epoch plans as files, for input that other processes prepare."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.training.dataset import TrainingData


class PlanFiles:
    """Writes the plans of epochs and reads them inside a `tf.data` graph.

    A plan is drawn in Python, where the training runs. A process of the tf.data service
    or a parameter server's worker knows the graph alone: it reads the plans from a
    folder that it shares with the training.

    Args:
        folder: where to write; what is there is replaced.
        data: whose plans.
        epochs: which epochs.
        write: bool. Is it this process that writes them, or another? Defaults to
            `True`.

    Example:
        >>> plans = PlanFiles("/shared/plans", data, range(20))  # doctest: +SKIP
        >>> batches = data.dataset(plans=plans, epochs=20)       # doctest: +SKIP
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        data: TrainingData,
        epochs: range,
        *,
        write: bool = True,
    ) -> None:
        self.folder, self.epochs = Path(folder).absolute(), epochs
        plan = data.plan(epochs[0])
        self._layout = {name: (v.dtype, v.shape) for name, v in plan.items()}
        if not write:
            return
        with replace_folder(self.folder) as beside:
            for epoch in epochs:
                for name, values in data.plan(epoch).items():
                    np.ascontiguousarray(values).tofile(beside / f"{name}-{epoch}")

    def __call__(self, epoch: Any) -> dict[str, Any]:
        """The plan of an epoch as tensors.

        Args:
            epoch: int64 scalar tensor.
        """
        number = tf.strings.as_string(epoch)
        return {
            name: self._read(name, number, dtype, shape)
            for name, (dtype, shape) in self._layout.items()
        }

    def _read(self, name: str, number: Any, dtype: Any, shape: Any) -> Any:
        file = tf.strings.join([f"{self.folder / name}-", number])
        return tf.reshape(tf.io.decode_raw(tf.io.read_file(file), dtype), shape)
