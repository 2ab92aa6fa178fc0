"""Features from raw ids and cells, in a served graph."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.serving.column_inputs import ColumnInputs
from keras_sllmr.serving.vocabulary import vocabulary_table
from keras_sllmr.store.feature_store import FeatureStore


class RawFeatures(tf.Module):
    """Look-ups of ids, item attributes, columns and examples for a backbone.

    Args:
        names: the backbone's inputs.
        spec: sizes of the features.
        store: the feature store that the backbone was trained on.
        folder: where the vocabulary files are written, one text a line. They must stay
            until the module has been saved, which copies them.
        retrieval: finds the examples of rows, if the backbone reads some, see
            `scoring.retrieval.ExampleRetrieval`. Every stored one is the past of a
            request, so that it needs no user. Defaults to none.

    Raises:
        ConfigError: when the store lacks a column of `spec`.
        DataError: when an id or a category holds a line break.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        spec: FeatureSpec,
        store: FeatureStore,
        folder: str | os.PathLike[str],
        retrieval: Any = None,
    ) -> None:
        super().__init__()
        self._names = names
        self._retrieval = retrieval if "examples" in names else None
        # Examples are found by the history, whether or not the backbone reads it too.
        self._of_users = names if self._retrieval is None else (*names, "history")
        self._length, self._width = spec.history_length, spec.attribute_width
        folder = Path(folder)
        self._items = vocabulary_table(
            store.item_ids, folder / "item_ids.txt", "item id"
        )
        self._users = None
        if "user" in names:
            self._users = vocabulary_table(
                store.user_ids, folder / "user_ids.txt", "user id"
            )
        self._columns = ColumnInputs(
            [column for column in spec.columns if column.name in names], store, folder
        )
        self._attributes = tf.Variable(
            store.attributes.padded(spec.attribute_width),
            trainable=False,
            name="attributes_of_items",
        )

    def user_specs(self) -> list[Any]:
        """A request's inputs on the user and the context, the history apart."""
        users = [tf.TensorSpec([None], tf.string, name="user_id")]
        return [*(users if self._users is not None else []), *self._columns.specs()]

    def index(self, item_ids: Any) -> Any:
        """Indices of item ids, int32 of the same shape; 0 is unknown."""
        return tf.cast(self._items.lookup(item_ids), tf.int32)

    def of_items(self, items: Any) -> dict[str, Any]:
        """The backbone's features of items `[rows]` by their indices."""
        features = {"item": items} | self._columns.of_items(items)
        if "item_attributes" in self._names:
            features["item_attributes"] = tf.gather(self._attributes, items)
        return self._read(features, self._names)

    def of_users(self, history: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Features of users by histories of indices and their cells.

        They are the backbone's, and those that `of_pairs` needs.

        Args:
            history: int32 `[rows, H]`, oldest first; 0 is unknown or padding.
            inputs: the request's, see `user_specs`.
        """
        window = self._window(history)
        features = {"history": window} | self._columns.of_request(inputs)
        if self._users is not None:
            features["user"] = tf.cast(self._users.lookup(inputs["user_id"]), tf.int32)
        if "history_attributes" in self._names:
            features["history_attributes"] = tf.reshape(
                tf.gather(self._attributes, window), [-1, self._length * self._width]
            )
        return self._read(features, self._of_users)

    def of_pairs(self, users: Mapping[str, Any], items: Any) -> dict[str, Any]:
        """All of the backbone's features of rows, a user and an item in each.

        Args:
            users: features of users, see `of_users`, `[rows, ...]`.
            items: int32 `[rows]`. Indices of items.
        """
        features = dict(users)
        if self._retrieval is not None:
            features["examples"] = self._retrieval(users["history"], items)
        features |= self.of_items(items)
        return self._read(features, self._names)

    @staticmethod
    def _read(features: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        return {name: x for name, x in features.items() if name in names}

    def _window(self, history: Any) -> Any:
        """The last known items of each row, right-aligned: `[N, history_length]`."""
        padded = tf.pad(history, [[0, 0], [self._length, 0]])
        # A stable sort by "is known" moves the padding to the left and keeps the order.
        order = tf.argsort(tf.cast(padded > 0, tf.int32), axis=1, stable=True)
        packed = tf.gather(padded, order, batch_dims=1)
        return tf.ensure_shape(packed[:, -self._length :], [None, self._length])
