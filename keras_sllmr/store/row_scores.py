"""A teacher's score of every training row, for distillation."""

import os
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.io.tfrecord import example
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.training_rows import RowTable, TrainingRows


class RowScores(RowTable):
    """Scores of the training positives and of their sampled negatives.

    Args:
        path: folder of a table made by `RowScores.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing or damaged, or was made for another store.

    Example:
        >>> table = RowScores("stores/beauty.row_scores", store)     # doctest: +SKIP
        >>> table.scores.shape, table.rows(split).items.shape        # doctest: +SKIP
        ((131413, 5), (131413, 5))
    """

    kind = "row_scores"
    views = ("row_scores",)
    remedy = "Make it again with `sllmr score-rows`."

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        super().__init__(path, store)
        #: float32 `[N, 1 + sets]` in [0, 1]; NaN where the teacher has no answer.
        self.scores = self._matrix(self._columns("row_scores")["scores"])

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        rows: TrainingRows,
        scores: np.ndarray,
        *,
        teacher: dict[str, Any],
        settings: dict[str, Any],
        cost: dict[str, Any],
    ) -> "RowScores":
        """Writes the table, whole or not at all.

        Args:
            path: the table's folder.
            rows: what was scored.
            scores: float `[N, 1 + sets]` in [0, 1]; NaN is missing.
            teacher: name, model and prompt hash.
            settings: everything else that shaped the scores.
            cost: requests, tokens, price.

        Raises:
            DataError: on another shape, or a score out of its range.
            StoreError: when something other than scores of rows is there, another job
                writes it, or the disk is full.
        """
        scores = np.asarray(scores, np.float32)
        outside = (scores < 0) | (scores > 1)
        if scores.shape != rows.items.shape or outside.any():
            raise DataError(
                "Scores of training rows must be in [0, 1], or NaN for missing, and "
                f"have shape {list(rows.items.shape)}. Received: shape "
                f"{list(scores.shape)}, {outside.sum()} scores out of the range."
            )
        store = rows.split.store
        cls._write(
            path,
            store,
            {"row_scores": (len(rows), (example(scores=r) for r in scores.tolist()))},
            settings={**settings, "rows": rows.describe()},
            parent={"rows": rows.fingerprint},
            missing=int(np.isnan(scores).sum()),
            teacher=teacher,
            cost=cost,
        )
        return cls(path, store)
