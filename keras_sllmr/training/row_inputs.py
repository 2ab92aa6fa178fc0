"""What was made offline for every training row, by the epoch."""

from collections.abc import Mapping

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.store.training_rows import TrainingRows


class RowInputs:
    """Values of every training positive and of each of its sets of negatives.

    An epoch's negatives are those of set `epoch mod sets`: the values were made for
    them and no others.

    Args:
        rows: the training rows.
        values: arrays `[N, 1 + sets, ...]` by name: `teacher`, float32 scores in [0, 1]
            or NaN, or `examples`, int32 indices.

    Raises:
        DataError: when an array is of other rows.

    Example:
        >>> inputs = RowInputs(TrainingRows(split), {"teacher": s})  # doctest: +SKIP
        >>> items, found = inputs.of_epoch(np.arange(128), epoch=5)  # doctest: +SKIP
    """

    def __init__(self, rows: TrainingRows, values: Mapping[str, np.ndarray]) -> None:
        self.rows, self.values = rows, dict(values)
        for name, array in self.values.items():
            if array.shape[:2] != rows.items.shape:
                raise DataError(
                    f"{name!r} must have a value for each training row, "
                    f"{list(rows.items.shape)}. Received: shape {list(array.shape)}. "
                    "Make it anew for this store."
                )

    def of_epoch(
        self, order: np.ndarray, epoch: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Negatives and values of an epoch.

        Args:
            order: int `[n]`. Which positives, in which order.
            epoch: int.

        Returns:
            Items `[n, 1]`, and each value of the positive and of that negative,
            `[n, 2, ...]`.
        """
        column = 1 + epoch % (self.rows.items.shape[1] - 1)
        found = {
            name: np.stack([array[order, 0], array[order, column]], axis=1)
            for name, array in self.values.items()
        }
        return self.rows.items[order, column][:, np.newaxis], found
