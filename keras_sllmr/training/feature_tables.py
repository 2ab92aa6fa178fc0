"""The store's tables as tensors: features of rows are gathered, never stored."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.split import LeaveOneOut


class FeatureTables:
    """The store's tables as tensors, gathered by (user, position, item).

    Args:
        split: the store's split.
        spec: sizes of the features.
        names: features to gather. Defaults to all that `spec` has.

    Raises:
        ConfigError: on a feature that the store does not have.
    """

    def __init__(
        self, split: LeaveOneOut, spec: FeatureSpec, names: Sequence[str] | None = None
    ) -> None:
        store = split.store
        self.spec = spec
        self.names = tuple(spec.inputs()) if names is None else tuple(names)
        known = {"user", "item", "history", "item_attributes", "history_attributes"}
        unknown = sorted(set(self.names) - known)
        if unknown:
            raise ConfigError(
                f"Features must be among {', '.join(sorted(known))}. "
                f"Received: {', '.join(unknown)}"
            )
        self._events = tf.constant(store.events.values, tf.int32)
        self._offsets = tf.constant(store.events.offsets, tf.int64)
        self._attributes = tf.constant(store.attributes.padded(spec.attribute_width))

    def features(self, users: Any, positions: Any, items: Any) -> dict[str, Any]:
        """Features of rows; nothing at or after a row's position is read.

        Args:
            users: int `[...]`. User indices.
            positions: int `[...]`. Place of the target in the user's events.
            items: int `[...]`. Target items.

        Returns:
            Each feature as int32 `[..., ...]`.
        """
        columns = self.user_features(users, positions) | self.item_features(items)
        return {name: columns[name] for name in self.names}

    def user_features(self, users: Any, positions: Any) -> dict[str, Any]:
        """Features of users at their positions, without those of an item."""
        history = self._history(users, positions)
        columns = {"user": users, "history": history}
        if "history_attributes" in self.names:
            of_history = tf.gather(self._attributes, history)
            width = self.spec.history_length * self.spec.attribute_width
            columns["history_attributes"] = tf.reshape(
                of_history, [*_shape(users), width]
            )
        return self._chosen(columns)

    def item_features(self, items: Any) -> dict[str, Any]:
        """Features of items."""
        columns = {"item": items}
        if "item_attributes" in self.names:
            columns["item_attributes"] = tf.gather(self._attributes, items)
        return self._chosen(columns)

    def _chosen(self, columns: dict[str, Any]) -> dict[str, Any]:
        return {
            name: tf.cast(value, tf.int32)
            for name, value in columns.items()
            if name in self.names
        }

    def _history(self, users: Any, positions: Any) -> Any:
        length = self.spec.history_length
        place = tf.cast(positions, tf.int64)[..., None] - length
        place += tf.range(length, dtype=tf.int64)
        index = tf.gather(self._offsets, users)[..., None] + tf.maximum(
            place, tf.zeros((), tf.int64)
        )
        index = tf.minimum(index, tf.size(self._events, tf.int64) - 1)
        events = tf.gather(self._events, index)
        return tf.where(place >= 0, events, tf.zeros_like(events))


def _shape(tensor: Any) -> list[Any]:
    dynamic = tf.shape(tensor)
    return [
        dynamic[axis] if size is None else size
        for axis, size in enumerate(tensor.shape)
    ]
