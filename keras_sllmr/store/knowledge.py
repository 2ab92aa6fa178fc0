"""What is known of users and items in words, as text vectors."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.io.tfrecord import example
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.store_table import (
    StoreTable,
    finite_vectors,
    require_source,
    require_texts,
    texts_of,
    with_empty_row,
)


class Knowledge(StoreTable):
    """A text and its vector for every user and every item, for the KAR adaptor.

    Args:
        path: folder of a table made by `Knowledge.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing or damaged, or was made for another store.

    Reference:
        Xi et al., "Towards open-world recommendation with knowledge augmentation from
        large language models", RecSys 2024.
    """

    kind = "knowledge"
    views = ("user_knowledge", "item_knowledge")
    remedy = "Make it again with `sllmr knowledge`."

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        super().__init__(path, store)
        users, items = map(self._columns, self.views)
        #: int64 `[n_users + 1]`. A user's text tells of events before this position.
        self.positions = with_empty_row(users["position"])
        #: float32 `[n_users + 1, d]`; a zero row is "no text", as row 0.
        self.users = with_empty_row(self._matrix(users["vector"]))
        #: float32 `[n_items + 1, d]`; likewise.
        self.items = with_empty_row(self._matrix(items["vector"]))
        #: `n_users + 1` texts, the first one "".
        self.user_texts = ["", *texts_of(users["text"])]
        #: `n_items + 1` texts, the first one "".
        self.item_texts = ["", *texts_of(items["text"])]

    @property
    def encoder(self) -> str:
        """The encoder's name."""
        return str(self.manifest["settings"]["encoder"])

    @property
    def source(self) -> str:
        """Who wrote the texts: `"llm"` or `"description"`."""
        return str(self.manifest["settings"]["source"])

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        store: FeatureStore,
        *,
        users: np.ndarray,
        items: np.ndarray,
        user_texts: Iterable[str],
        item_texts: Iterable[str],
        positions: np.ndarray,
        encoder: str,
        source: str,
        teacher: dict[str, Any] | None = None,
        cost: dict[str, Any] | None = None,
    ) -> "Knowledge":
        """Writes the table, whole or not at all.

        Args:
            path: the table's folder.
            store: the feature store.
            users: float `[n_users + 1, d]`. Vectors of the users' texts; row 0 is
                padding.
            items: float `[n_items + 1, d]`. Likewise, of one width.
            user_texts: str, `n_users + 1` of them.
            item_texts: str, `n_items + 1` of them.
            positions: int `[n_users + 1]`. A user's text tells of no event from here
                on.
            encoder: str. The encoder's name.
            source: str. Who wrote the texts, `"llm"` or `"description"`.
            teacher: name, model and prompt hash. Defaults to none.
            cost: requests, tokens, price. Defaults to none.

        Raises:
            ConfigError: on an unknown source.
            DataError: on other numbers of rows or texts, vectors of two widths, or
                values that are not finite.
            StoreError: when something other than knowledge is there, another job writes
                it, or the disk is full.
        """
        require_source(source)
        users = finite_vectors(users, store.n_users + 1, of="a user")
        items = finite_vectors(items, store.n_items + 1, of="an item")
        if users.shape[1] != items.shape[1]:
            raise DataError(
                "Users' and items' vectors must be of one width. Received: "
                f"{users.shape[1]} and {items.shape[1]}."
            )
        user_texts = require_texts(user_texts, store.n_users + 1, of="a user")
        item_texts = require_texts(item_texts, store.n_items + 1, of="an item")
        positions = np.asarray(positions)
        if positions.shape != (store.n_users + 1,) or (positions < 0).any():
            raise DataError(
                f"`positions` must be {store.n_users + 1} numbers from 0. Received: "
                f"shape {list(positions.shape)}, lowest {positions.min(initial=0)}."
            )
        cls._write(
            path,
            store,
            {
                "user_knowledge": (
                    store.n_users,
                    _records(
                        "user_id",
                        store.user_ids,
                        user_texts,
                        users,
                        position=positions,
                    ),
                ),
                "item_knowledge": (
                    store.n_items,
                    _records("item_id", store.item_ids, item_texts, items),
                ),
            },
            settings={
                "encoder": encoder,
                "source": source,
                "dimension": users.shape[1],
            },
            teacher=teacher or {},
            cost=cost or {},
        )
        return cls(path, store)


def _records(
    key: str,
    ids: np.ndarray,
    texts: Sequence[str],
    vectors: np.ndarray,
    **columns: np.ndarray,
) -> Iterator[bytes]:
    values: dict[str, Any] = {key: ids, "text": texts, "vector": vectors, **columns}
    for row in zip(*(column[1:] for column in values.values()), strict=True):
        yield example(**dict(zip(values, row, strict=True)))
