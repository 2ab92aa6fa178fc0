"""The LLM score table: TFRecord shards keyed by (user, item), with provenance."""

import os
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.schema import SCORE_VERSION
from keras_sllmr.store.score_writer import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    write_score_table,
)
from keras_sllmr.store.scored_pairs import ScoredPairs, pair_order
from keras_sllmr.store.store_table import StoreTable, texts_of

__all__ = ["NEGATIVE", "POSITIVE", "UNKNOWN", "ScoreTable", "write_score_table"]


class ScoreTable(StoreTable):
    """LLM scores of (user, item) pairs, joined to a store by a vectorised look-up.

    A pair without a score stays missing: `lookup` returns a mask, never an imputed
    value.

    Args:
        path: folder of a table made by `ScoreTable.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing, or was made for another store; at the first use
            of a column when the shards are damaged.
    """

    kind = "llm_score"
    version = SCORE_VERSION
    remedy = "Score it again."

    @cached_property
    def _scores(self) -> dict[str, np.ndarray]:
        """Read when first needed: who only writes a table need not hold it."""
        columns = self._columns("llm_score")
        users = self._indices(columns.pop("user_id"), self.store.user_ids)
        items = self._indices(columns.pop("item_id"), self.store.item_ids)
        origins = np.array(texts_of(columns.pop("origin")), dtype=str)
        columns |= {"user": users, "item": items, "origin": origins}
        order = pair_order(users, items, self.store.n_items)
        return {name: column[order] for name, column in columns.items()}

    @property
    def users(self) -> np.ndarray:
        """int64 `[pairs]`. User indices, ascending."""
        return self._scores["user"]

    @property
    def items(self) -> np.ndarray:
        """int64 `[pairs]`. Item indices, ascending for each user."""
        return self._scores["item"]

    @property
    def scores(self) -> np.ndarray:
        """float32 `[pairs]` in [0, 1]."""
        return self._scores["score"]

    @property
    def positions(self) -> np.ndarray:
        """int64 `[pairs]`. The history that was shown ends before this position."""
        return self._scores["position"]

    @property
    def labels(self) -> np.ndarray:
        """int64 `[pairs]`. 1 hidden training positive, 0 its negative, −1 unknown."""
        return self._scores["label"]

    @property
    def spread(self) -> np.ndarray:
        """float32 `[pairs]`. Standard deviation over the answers that are averaged."""
        return self._scores["spread"]

    @property
    def answers(self) -> np.ndarray:
        """int64 `[pairs]`. How many answers that is; 0 of an imputed score."""
        return self._scores["answers"]

    @property
    def origins(self) -> np.ndarray:
        """Why each pair was scored, str `[pairs]`."""
        return self._scores["origin"]

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def pairs(self) -> ScoredPairs:
        """The scores alone, ordered by pair."""
        return ScoredPairs(
            self.users,
            self.items,
            self.scores,
            self.positions,
            self.labels,
            n_items=self.store.n_items,
        )

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
        return self.pairs.lookup(users, items)

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
        """Writes a table of one frame in any order and opens it.

        Args:
            path: the table's folder.
            store: the feature store.
            rows: as a frame of `write_score_table`.
            teacher: see `write_score_table`, as are the others.
            settings: everything else that shaped the scores.
            cost: requests, tokens, price.
            shard_size: int. Records a shard.

        Raises:
            DataError: on duplicate pairs or values out of their range.
            StoreError: when something other than a score table is there, another job
                writes it, or the disk is full.
        """
        write_score_table(
            path,
            store,
            [rows],
            teacher=teacher,
            settings=settings,
            cost=cost,
            shard_size=shard_size,
        )
        return cls(path, store)
