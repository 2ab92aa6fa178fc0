"""Further columns in an export: cells as they come in, features of a model out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.backbones.features import ColumnFeature
from keras_sllmr.compat import tf
from keras_sllmr.serving.vocabulary import vocabulary_table
from keras_sllmr.store.columns import OUTERMOST
from keras_sllmr.store.feature_store import FeatureStore


class ColumnInputs(tf.Module):
    """Columns of the users, the context and the items, for a served graph.

    Those of items are tables inside; those of users and of the context are inputs, one
    each by the column's name. What is missing or unknown counts as in training.

    Args:
        columns: the columns that the model reads.
        store: the feature store that it was trained on.
        folder: where the vocabulary files are written, see `vocabulary_table`.

    Raises:
        ConfigError: when the store has no such column.
        DataError: when a category holds a line break.
    """

    def __init__(
        self, columns: Sequence[ColumnFeature], store: FeatureStore, folder: Path
    ) -> None:
        super().__init__()
        self._given = [column for column in columns if column.entity != "item"]
        self._of_items = {
            column.name: tf.Variable(
                column.table(store), trainable=False, name=f"{column.name}_of_items"
            )
            for column in columns
            if column.entity == "item"
        }
        found = {column.name: column.column(store) for column in self._given}
        self._vocabularies = {
            name: vocabulary_table(
                column.vocabulary,
                folder / f"{name}_vocabulary.txt",
                f"value of the column {name!r}",
            )
            for name, column in found.items()
            if column.vocabulary is not None
        }
        self._moments = {
            name: (column.mean, column.std) for name, column in found.items()
        }

    def specs(self) -> list[Any]:
        """The signature's inputs: strings `[N]`, `[N, values]`, or floats `[N]`."""
        return [
            tf.TensorSpec(
                [None, None] if column.kind == "multi" else [None],
                tf.float32 if column.kind == "numeric" else tf.string,
                name=column.name,
            )
            for column in self._given
        ]

    def of_items(self, items: Any) -> dict[str, Any]:
        """Features of items by their indices."""
        return {name: tf.gather(table, items) for name, table in self._of_items.items()}

    def of_request(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Features of users and context by the cells of a request."""
        return {column.name: self._feature(column, inputs) for column in self._given}

    def _feature(self, column: ColumnFeature, inputs: Mapping[str, Any]) -> Any:
        cells = inputs[column.name]
        if column.kind == "numeric":
            mean, std = self._moments[column.name]
            scaled = (tf.cast(cells, tf.float64) - mean) / std
            known = tf.math.is_finite(cells)
            scaled = tf.clip_by_value(scaled, -OUTERMOST, OUTERMOST)
            return tf.cast(tf.where(known, scaled, tf.zeros_like(scaled)), tf.float32)
        indices = tf.cast(self._vocabularies[column.name].lookup(cells), tf.int32)
        return _first(indices, column.width) if column.kind == "multi" else indices


def _first(indices: Any, width: int) -> Any:
    """The first known values of each row, none twice: `[N, width]`."""
    same = tf.equal(indices[:, :, tf.newaxis], indices[:, tf.newaxis, :])
    # How many of the values up to each place are the same as it.
    count = tf.reduce_sum(tf.linalg.band_part(tf.cast(same, tf.int32), -1, 0), axis=2)
    kept = tf.pad(tf.where(count > 1, 0, indices), [[0, 0], [0, width]])
    # A stable sort by "is unknown" moves the padding to the right.
    order = tf.argsort(tf.cast(kept == 0, tf.int32), axis=1, stable=True)
    packed = tf.gather(kept, order, batch_dims=1)[:, :width]
    return tf.ensure_shape(packed, [None, width])
