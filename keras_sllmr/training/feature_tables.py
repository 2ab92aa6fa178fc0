"""The store's tables as tensors: features of rows are gathered, never stored."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.columns import Entity
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut

#: From histories `[rows, H]`, items, users and positions `[rows]` to the indices of
#: the rows' examples, `[rows, K]`; see `scoring.retrieval.ExampleRetrieval`.
Retrieval: TypeAlias = Callable[..., Any]


class ItemTables:
    """The items' attributes and columns as tensors, gathered by item.

    Args:
        store: the feature store, or its `Catalogue`.
        spec: sizes of the features.
        names: features to gather. Defaults to all that `spec` has.
    """

    def __init__(
        self,
        store: FeatureStore,
        spec: FeatureSpec,
        names: Sequence[str] | None = None,
    ) -> None:
        self.spec = spec
        self.names = tuple(spec.inputs()) if names is None else tuple(names)
        self._attributes = tf.constant(store.attributes.padded(spec.attribute_width))
        self._columns: dict[Entity, dict[str, Any]] = {}
        for column in spec.columns:
            if column.name in self.names:
                tables = self._columns.setdefault(column.entity, {})
                tables[column.name] = tf.constant(column.table(store))

    def item_features(self, items: Any) -> dict[str, Any]:
        """Features of items."""
        columns = {"item": tf.cast(items, tf.int32)}
        if "item_attributes" in self.names:
            columns["item_attributes"] = tf.gather(self._attributes, items)
        if "item" in self._columns:
            columns |= self._cells("item", items)
        return self._chosen(columns)

    def history_features(self, users: Any, history: Any) -> dict[str, Any]:
        """Features of users and their histories, `[...]` and `[..., history_length]`."""
        columns = {"user": tf.cast(users, tf.int32), "history": history}
        if "history_attributes" in self.names:
            of_history = tf.gather(self._attributes, history)
            width = self.spec.history_length * self.spec.attribute_width
            columns["history_attributes"] = tf.reshape(
                of_history, [*_shape(users), width]
            )
        return self._chosen(columns)

    def _chosen(self, columns: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in columns.items() if name in self.names}

    def _cells(self, entity: Entity, rows: Any) -> dict[str, Any]:
        tables = self._columns[entity]
        return {name: tf.gather(table, rows) for name, table in tables.items()}


class FeatureTables(ItemTables):
    """The store's tables as tensors, gathered by (user, position, item).

    Args:
        split: the store's split.
        spec: sizes of the features.
        names: features to gather. Defaults to all that `spec` has.
        retrieval: finds the rows' examples, if they are among the features.
        known_from: int `[n_users + 1]`. Rows before this position have no user, whose
            knowledge would tell them their target. Defaults to none such.

    Raises:
        ConfigError: on a feature that `spec` or the store does not have.
    """

    def __init__(
        self,
        split: LeaveOneOut,
        spec: FeatureSpec,
        names: Sequence[str] | None = None,
        *,
        retrieval: Retrieval | None = None,
        known_from: np.ndarray | None = None,
    ) -> None:
        store = split.store
        self._retrieval = retrieval
        names = tuple(spec.inputs()) if names is None else tuple(names)
        known = {"user", "item", "history", "item_attributes", "history_attributes"}
        known |= {column.name for column in spec.columns}
        if retrieval is not None:
            known |= set(spec.pair_inputs)
        unknown = sorted(set(names) - known)
        if unknown:
            raise ConfigError(
                f"Features must be among {', '.join(sorted(known))}. "
                f"Received: {', '.join(unknown)}"
            )
        super().__init__(store, spec, names)
        self._known_from = None
        if known_from is not None:
            self._known_from = tf.constant(known_from, tf.int64)
        self._first = store.first
        self._events = tf.constant(store.events.values, tf.int32)
        self._offsets = tf.constant(store.events.offsets, tf.int64)
        self._lengths = tf.constant(split.lengths, tf.int64)
        self._train_lengths = tf.constant(split.train_lengths, tf.int64)

    def features(self, users: Any, positions: Any, items: Any) -> dict[str, Any]:
        """Features of rows; of events at or after the position only its own context.

        Args:
            users: int `[...]`. User indices.
            positions: int `[...]`. Place of the target in the user's events.
            items: int `[...]`. Target items.

        Returns:
            Each feature as int32, numeric columns as float32, `[..., ...]`.
        """
        columns = self.user_features(users, positions) | self.item_features(items)
        if "examples" in self.names and self._retrieval is not None:
            columns["examples"] = self._retrieval(
                self._history(users, positions), items, users, positions
            )
        return {name: columns[name] for name in self.names}

    def user_features(
        self, users: Any, positions: Any, *, training: bool = False
    ) -> dict[str, Any]:
        """Features of users and of the context at their positions.

        Args:
            users: int `[...]`. User indices.
            positions: int `[...]`. One after the user's last event is the next event,
                whose context is unknown.
            training: bool. Is the context of held-out events unknown too? Defaults to
                `False`.
        """
        history = self._history(users, positions)
        known = tf.cast(users, tf.int32) + self._first
        if self._known_from is not None:
            place = tf.cast(positions, tf.int64)
            early = place < tf.gather(self._known_from, users)
            known = tf.where(early, tf.zeros_like(known), known)
        columns = self.history_features(known, history)
        if "user" in self._columns:
            columns |= self._cells("user", users)
        if "context" in self._columns:
            columns |= self._cells("context", self._event(users, positions, training))
        return self._chosen(columns)

    def _event(self, users: Any, positions: Any, training: bool) -> Any:
        """Row of the events' context, 0 where it is unknown."""
        place = tf.cast(positions, tf.int64)
        lengths = tf.gather(self._train_lengths if training else self._lengths, users)
        row = tf.gather(self._offsets, users) + place + 1
        return tf.where(place < lengths, row, tf.zeros_like(row))

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
