"""Stored labelled rows by their index, for a model that reads some with each row."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.tables import fill, rows_of


@keras.utils.register_keras_serializable("keras_sllmr")
class ExampleRows(keras.layers.Layer):
    """Looks up rows of frozen tables; index 0 is no example.

    Args:
        shapes: dict. The shape of each table by its name, its rows included.
        dtypes: dict. The type of each table by its name.

    Call arguments:
        inputs: int `[batch, K]`. Indices of examples.

    Returns:
        A dict of each table's rows, `[batch * K, ...]`.

    Example:
        >>> rows = ExampleRows.of({"item": np.array([0, 7, 5], np.int32)})
        >>> rows(tf.constant([[2, 1], [0, 2]]))["item"].numpy().tolist()
        [5, 7, 0, 5]
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        dtypes: Mapping[str, str],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.shapes = {name: tuple(shape) for name, shape in shapes.items()}
        self.dtypes = dict(dtypes)

    @classmethod
    def of(cls, tables: Mapping[str, np.ndarray], **kwargs: Any) -> "ExampleRows":
        """The layer with given tables."""
        layer = cls(
            {name: table.shape for name, table in tables.items()},
            {name: table.dtype.name for name, table in tables.items()},
            trainable=False,
            **kwargs,
        )
        layer.build((None, 1))
        fill(layer, [tables[name] for name in layer.shapes])
        return layer

    def build(self, input_shape: Any) -> None:
        """Makes the tables."""
        self._tables = {
            name: self.add_weight(
                name=name,
                shape=shape,
                dtype=self.dtypes[name],
                initializer="zeros",
                trainable=False,
                experimental_autocast=False,
            )
            for name, shape in self.shapes.items()
        }
        super().build(input_shape)

    def call(self, inputs: Any) -> dict[str, Any]:
        """See the class."""
        index = tf.reshape(inputs, [-1])
        return {name: rows_of(table, index) for name, table in self._tables.items()}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "shapes": self.shapes, "dtypes": self.dtypes}
