"""Batches of given rows, for `predict` and `evaluate`."""

from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.store.split import Targets
from keras_sllmr.training.feature_tables import FeatureTables


def row_batches(
    tables: FeatureTables, targets: Targets, items: np.ndarray, *, batch: int = 2048
) -> Any:
    """Feature batches of given rows, in order, for `predict` and `evaluate`.

    Args:
        tables: gathers the features.
        targets: users and positions of the rows.
        items: int `[rows]`. The items to score in place of the targets'.
        batch: int. Rows a batch.
    """
    rows = (targets.users, targets.positions, items)
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(batch)
    return dataset.map(tables.features).prefetch(2)
