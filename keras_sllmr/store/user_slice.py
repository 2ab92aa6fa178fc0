"""Some of a store's users: what a worker needs to work on them alone."""

import os
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.tfrecord import read_rows
from keras_sllmr.store.columns import Column
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.records import SCHEMA_FILE
from keras_sllmr.store.schema import parsing_spec


class UserSlice(FeatureStore):
    """A store as if it had these users alone, with all its items.

    User u of the slice is user `first + u` of the store. Columns are left out.

    Args:
        path: folder of a store.
        start: int ≥ 0. Users before the slice.
        stop: int. Users up to its end.

    Raises:
        ConfigError: when the store has no such users.
        StoreError: as `FeatureStore` does.

    Example:
        >>> some = UserSlice("stores/beauty", 100, 200)        # doctest: +SKIP
        >>> some.n_users, some.first                           # doctest: +SKIP
        (100, 100)
    """

    def __init__(self, path: str | os.PathLike[str], start: int, stop: int) -> None:
        self.first, self.stop = start, stop
        super().__init__(path)

    def _read(self, view: str) -> dict[str, Any]:
        if view != "user_history":
            return super()._read(view)
        users = self.manifest["counts"][view]
        if not 0 <= self.first < self.stop <= users:
            raise ConfigError(
                f"A slice must be of users from 0 to {users}, one at least. Received: "
                f"start={self.first}, stop={self.stop}"
            )
        return read_rows(
            self.path / "views" / view,
            parsing_spec(self.path / SCHEMA_FILE, view),
            count=users,
            start=self.first,
            stop=self.stop,
        )

    def _read_columns(self) -> dict[str, Column]:
        return {}


class Catalogue(FeatureStore):
    """A store's items, without its users: what reading training records needs.

    `n_users` still counts them. Columns are left out.

    Args:
        path: folder of a store.

    Raises:
        StoreError: as `FeatureStore` does.

    Example:
        >>> items = Catalogue("stores/beauty")                 # doctest: +SKIP
        >>> items.n_users, items.n_items, len(items.events)    # doctest: +SKIP
        (22363, 12101, 1)
    """

    def _read(self, view: str) -> dict[str, Any]:
        if view == "user_history":
            nothing = np.zeros(0, np.int64), np.zeros(1, np.int64)
            return {"user_id": np.zeros(0, object), "history": nothing}
        return super()._read(view)

    def _read_columns(self) -> dict[str, Column]:
        return {}

    @property
    def n_users(self) -> int:
        """Number of users in the store."""
        return int(self.manifest["counts"]["user_history"])


def user_slices(users: int, most: int) -> list[tuple[int, int]]:
    """Slices of about equal size, at most `most` users each.

    Example:
        >>> user_slices(5, 2)
        [(0, 2), (2, 4), (4, 5)]
    """
    parts = -(-users // most)
    size = -(-users // parts)
    return [(start, min(start + size, users)) for start in range(0, users, size)]
