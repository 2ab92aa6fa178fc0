"""The LLM score table: TFRecord shards keyed by (user, item), with provenance."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import example, read_shards, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import read_manifest, write_manifest
from keras_sllmr.store.schema import parsing_spec, write_schema

SCORE_VERSION = 1
UNKNOWN, NEGATIVE, POSITIVE = -1, 0, 1
_COLUMNS = ("user", "item", "score", "origin", "position", "label")


class ScoreTable:
    """LLM scores of (user, item) pairs, joined to a store by a vectorised look-up.

    A pair without a score stays missing: `lookup` returns a mask, never an imputed
    value.

    Args:
        path: folder of a table made by `ScoreTable.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing or damaged, or was made for another store.
    """

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        self.path = Path(path)
        self.store = store
        self.manifest = read_manifest(
            self.path, kind="llm_score", schema_version=SCORE_VERSION
        )
        made_for = self.manifest["parent"]["store"]
        if made_for != store.fingerprint:
            raise StoreError(
                f"{self.path} was scored for the store {made_for[:12]}. Received: the "
                f"store {store.fingerprint[:12]} at {store.path}. Score it again."
            )
        columns = read_shards(
            self.path / "views" / "llm_score",
            parsing_spec(self.path / "schema.pbtxt", "llm_score"),
            count=self.manifest["counts"]["llm_score"],
        )
        users = _indices(columns["user_id"], store.user_ids)
        items = _indices(columns["item_id"], store.item_ids)
        order = np.argsort(self._key(users, items), kind="stable")
        self.users, self.items = users[order], items[order]
        #: float32 `[pairs]` in [0, 1].
        self.scores = columns["score"][order]
        #: int64 `[pairs]`: the history that was shown ends before this position.
        self.positions = columns["position"][order]
        #: int64 `[pairs]`: 1 hidden training positive, 0 its sampled negative, −1 unknown.
        self.labels = columns["label"][order]
        #: str `[pairs]`: why the pair was scored.
        self.origins = columns["origin"][order].astype(str)

    def __len__(self) -> int:
        return len(self.scores)

    def _key(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.asarray(users, np.int64) * (self.store.n_items + 1) + items

    @cached_property
    def _keys(self) -> np.ndarray:
        return self._key(self.users, self.items)

    @property
    def coverage(self) -> float:
        """Share of all (user, item) pairs that have a score."""
        return len(self) / (self.store.n_users * self.store.n_items)

    def lookup(
        self, users: np.ndarray, items: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Left join of pairs to the table.

        Args:
            users: int, any shape. User indices.
            items: int, the same shape. Item indices.

        Returns:
            Scores (float32, 0 where missing) and a boolean mask of those found.
        """
        keys = self._key(users, items)
        if not len(self):
            return np.zeros(keys.shape, np.float32), np.zeros(keys.shape, bool)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        found = self._keys[place] == keys
        return np.where(found, self.scores[place], 0).astype(np.float32), found

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        store: FeatureStore,
        rows: pd.DataFrame,
        *,
        teacher: dict[str, Any],
        settings: dict[str, Any],
        cost: dict[str, Any],
        shard_size: int = 100_000,
    ) -> "ScoreTable":
        """Writes a table, sorted by user and item, whole or not at all.

        Args:
            path: the table's folder.
            store: the feature store.
            rows: columns `user`, `item` (indices), `score` in [0, 1], `origin` (str),
                `position` and `label`. Rows whose score is NaN are missing: they are
                counted and left out.
            teacher: name, model and prompt hash.
            settings: everything else that shaped the scores.
            cost: requests, tokens, price.
            shard_size: int. Records a shard.

        Raises:
            DataError: on duplicate pairs or scores outside [0, 1].
        """
        missing = int(rows["score"].isna().sum())
        rows = rows[rows["score"].notna()].sort_values(["user", "item"])
        if rows.duplicated(["user", "item"]).any():
            raise DataError(
                "A score table holds one score a (user, item). Received: "
                f"{int(rows.duplicated(['user', 'item']).sum())} duplicates."
            )
        if len(rows) and not rows["score"].between(0, 1).all():
            raise DataError(
                "LLM scores must be in [0, 1]. Received: "
                f"{rows['score'].min()} to {rows['score'].max()}."
            )

        def records() -> Iterator[bytes]:
            columns = [rows[name].tolist() for name in _COLUMNS]
            for user, item, *values in zip(*columns, strict=True):
                yield example(
                    user_id=store.user_ids[user],
                    item_id=store.item_ids[item],
                    **dict(zip(_COLUMNS[2:], values, strict=True)),
                )

        path = Path(path)
        with exclusive(path), replace_folder(path) as folder:
            write_schema(folder / "schema.pbtxt")
            write_shards(
                folder / "views" / "llm_score",
                records(),
                count=len(rows),
                shard_size=shard_size,
            )
            write_manifest(
                folder,
                kind="llm_score",
                schema_version=SCORE_VERSION,
                parent={"store": store.fingerprint},
                settings=settings,
                counts={"llm_score": len(rows), "missing": missing},
                teacher=teacher,
                cost=cost,
            )
        return cls(path, store)


def _indices(ids: np.ndarray, vocabulary: np.ndarray) -> np.ndarray:
    text = [value.decode("utf-8") for value in ids]
    found = pd.Index(vocabulary).get_indexer(pd.Index(text, dtype=object))
    if (found <= 0).any():
        unknown = text[int(np.argmax(found <= 0))]
        raise StoreError(
            f"The score table names {unknown!r}, which the store does not have. Score "
            "the store again."
        )
    return found.astype(np.int64)
