"""The feature store: one folder, the one source for training, evaluation and serving."""

import itertools
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import read_shards, write_shards
from keras_sllmr.store.column_views import (
    ColumnViews,
    read_column_views,
    vocabulary,
)
from keras_sllmr.store.columns import Column
from keras_sllmr.store.manifest import (
    read_manifest,
    require_replaceable,
    verify_files,
)
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.raw import RawData
from keras_sllmr.store.records import (
    SCHEMA_FILE,
    attribute_records,
    finish_store,
    item_records,
    user_records,
)
from keras_sllmr.store.schema import SCHEMA_VERSION, parsing_spec, write_schema


class FeatureStore:
    """Entities (user, item) and their feature views, read into memory.

    Indices are 1-based: index 0 of every vocabulary is padding and "unknown", and row
    0 of every table is empty. Views are TFRecord shards under `views/`, described by
    `schema.pbtxt` and `manifest.json`.

    Args:
        path: folder of a store made by `FeatureStore.create`.
        verify: bool. Compare the files' hashes with the manifest's first.

    Raises:
        StoreError: when it is missing, damaged or of another schema version.

    Example:
        >>> store = FeatureStore("stores/beauty")              # doctest: +SKIP
        >>> store.n_users, store.n_items                       # doctest: +SKIP
        (22363, 12101)
    """

    #: users before the first one of this store, which only a `UserSlice` has.
    first = 0

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = False) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise StoreError(
                f"No store at {self.path}. Make one with `sllmr import`, or check the "
                "path."
            )
        self.manifest = read_manifest(
            self.path, kind="store", schema_version=SCHEMA_VERSION
        )
        if verify:
            verify_files(self.path, self.manifest)
        users = self._read("user_history")
        items = self._read("item_content")
        attributes = self._read("attribute")
        #: str `[n_users + 1]`, `[n_items + 1]`, `[n_attributes + 1]`; entry 0 is "".
        self.user_ids = vocabulary(users["user_id"])
        self.item_ids = vocabulary(items["item_id"])
        self.attribute_names = vocabulary(attributes["attribute"])
        #: str `[n_items + 1]`: the items' texts.
        self.item_texts = vocabulary(items["text"])
        #: chronological item indices of each user, `n_users + 1` rows.
        self.events = _with_empty_row(*users["history"])
        #: attribute indices of each item, `n_items + 1` rows.
        self.attributes = _with_empty_row(*items["attributes"])
        #: further columns of users, items and events, by name.
        self.columns = self._read_columns()

    def _read(self, view: str) -> dict[str, Any]:
        return read_shards(
            self.path / "views" / view,
            parsing_spec(self.path / SCHEMA_FILE, view),
            count=self.manifest["counts"].get(view),
        )

    def _read_columns(self) -> dict[str, Column]:
        return read_column_views(
            self.path / "views", self.path / SCHEMA_FILE, self.manifest, self.events
        )

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids) - 1

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.item_ids) - 1

    @property
    def n_attributes(self) -> int:
        """Number of distinct item attributes."""
        return len(self.attribute_names) - 1

    @property
    def fingerprint(self) -> str:
        """Hash of the store's content."""
        return str(self.manifest["fingerprint"])

    @cached_property
    def item_index(self) -> dict[str, int]:
        """Item id to index."""
        return {item: index for index, item in enumerate(self.item_ids) if index}

    @cached_property
    def user_index(self) -> dict[str, int]:
        """User id to index."""
        return {user: index for index, user in enumerate(self.user_ids) if index}

    @classmethod
    def create(cls, path: str | os.PathLike[str], raw: RawData) -> "FeatureStore":
        """Writes a store from imported data, whole or not at all.

        Args:
            path: the store's folder; an existing store there is replaced.
            raw: cleaned interactions and items.

        Raises:
            StoreError: when something other than a store is there, another job writes
                it, or the disk is full.
        """
        require_replaceable(path, kind="store")
        with exclusive(path), replace_folder(path) as folder:
            _write(folder, raw)
        return cls(path)


def _write(folder: Path, raw: RawData) -> None:
    item_ids = raw.items["item"].tolist()
    item_index = {item: index for index, item in enumerate(item_ids, start=1)}
    attribute_lists = raw.items["attributes"].tolist()
    attribute_names = sorted({name for names in attribute_lists for name in names})
    attribute_index = {name: i for i, name in enumerate(attribute_names, start=1)}

    # Sorted by user, so equal neighbours are a user's rows.
    events = zip(raw.interactions["user"], raw.interactions["item"], strict=True)
    users, histories = [], []
    for user, rows in itertools.groupby(events, key=lambda event: event[0]):
        users.append(user)
        histories.append([item_index[item] for _, item in rows])
    columns = ColumnViews(raw, users, Ragged.from_rows(histories))
    views = folder / "views"
    counts = {
        "user_history": len(users),
        "item_content": len(item_ids),
        "attribute": len(attribute_names),
    }
    records = {
        "user_history": user_records(users, histories),
        "item_content": item_records(
            item_ids, raw.items["text"], attribute_lists, attribute_index
        ),
        "attribute": attribute_records(attribute_names),
    }
    write_schema(folder / SCHEMA_FILE, columns.sizes)
    for view, content in records.items():
        write_shards(views / view, content, count=counts[view])
    counts |= columns.write(views)
    finish_store(
        folder,
        source=raw.source,
        counts={**counts, "interactions": len(raw.interactions)},
        dropped=raw.dropped,
        notes=raw.notes,
        columns=raw.columns,
    )


def _with_empty_row(values: np.ndarray, offsets: np.ndarray) -> Ragged:
    return Ragged(values, np.concatenate([[0], offsets]))
