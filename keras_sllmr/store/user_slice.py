"""Some of a store's users: what a worker needs to work on them alone."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.tfrecord import read_rows
from keras_sllmr.store.column_views import vocabulary
from keras_sllmr.store.columns import Column
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import read_manifest
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.records import SCHEMA_FILE
from keras_sllmr.store.schema import SCHEMA_VERSION, parsing_spec


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


class UserSlice(FeatureStore):
    """A store as if it had these users alone, with all its items.

    User u of the slice is user `first + u` of the store. Columns are left out. The
    items are read once a process.

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
        items = catalogue(path)
        self.path, self.manifest, self.first = items.path, items.manifest, start
        users = self.manifest["counts"]["user_history"]
        if not 0 <= start < stop <= users:
            raise ConfigError(
                f"A slice must be of users from 0 to {users}, one at least. Received: "
                f"start={start}, stop={stop}"
            )
        self.item_ids, self.item_texts = items.item_ids, items.item_texts
        self.attribute_names, self.attributes = items.attribute_names, items.attributes
        self.item_index = items.item_index
        self.columns = {}
        view = "user_history"
        found = read_rows(
            self.path / "views" / view,
            parsing_spec(self.path / SCHEMA_FILE, view),
            count=users,
            start=start,
            stop=stop,
        )
        self.user_ids = vocabulary(found["user_id"])
        values, offsets = found["history"]
        self.events = Ragged(values, np.concatenate([[0], offsets]))


def catalogue(path: str | os.PathLike[str]) -> Catalogue:
    """A store's items; those of the last store stay in memory.

    Raises:
        StoreError: as `FeatureStore` does.
    """
    path = Path(path)
    if not path.is_dir():
        return Catalogue(path)  # raises
    manifest = read_manifest(path, kind="store", schema_version=SCHEMA_VERSION)
    return _catalogue(path, str(manifest["fingerprint"]))


@functools.lru_cache(maxsize=1)
def _catalogue(path: Path, fingerprint: str) -> Catalogue:
    return Catalogue(path)


def user_slices(users: int, most: int) -> list[tuple[int, int]]:
    """Slices of about equal size, at most `most` users each.

    Example:
        >>> user_slices(5, 2)
        [(0, 2), (2, 4), (4, 5)]
    """
    parts = -(-users // most)
    size = -(-users // parts)
    return [(start, min(start + size, users)) for start in range(0, users, size)]
