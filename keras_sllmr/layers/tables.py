"""Tables of rows, whole in one variable or in parts on several servers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.compat import tf


def rows_of(table: Any, ids: Any) -> Any:
    """Some rows of a table, read where its parts lie.

    Args:
        table: a variable `[rows, ...]`, or parts of one, as a parameter server's
            strategy makes them.
        ids: int tensor, of any shape.

    Example:
        >>> rows_of(tf.Variable([[1.0], [2.0]]), tf.constant([1, 0])).numpy().tolist()
        [[2.0], [1.0]]
    """
    if partitioned(table):
        return tf.nn.embedding_lookup(table, ids)
    return tf.gather(table, ids)


def partitioned(variable: Any) -> bool:
    """Whether a variable is in parts."""
    # TensorFlow has no public name for the class.
    return hasattr(variable, "variables") and hasattr(variable, "shape")


def fill(layer: Any, values: Sequence[np.ndarray]) -> None:
    """Sets the weights of a layer, each of which may be in parts by its first axis.

    Args:
        layer: a built layer.
        values: an array a weight, in the order in which they were made.

    Example:
        >>> layer = keras.layers.Dense(1, use_bias=False)
        >>> layer.build((None, 2))
        >>> fill(layer, [np.array([[1.0], [2.0]])])
        >>> layer.get_weights()[0].tolist()
        [[1.0], [2.0]]
    """
    parts, weights = [], iter(layer.weights)
    for value in values:
        start = 0
        while start < len(value):
            rows = next(weights).shape[0]
            parts.append(value[start : start + rows])
            start += rows
    layer.set_weights(parts)
