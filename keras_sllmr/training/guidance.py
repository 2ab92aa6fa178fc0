"""Blocks of LLM-scored items a user, out of the score table."""

from dataclasses import dataclass, fields

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.store.score_table import UNKNOWN, ScoreTable


@dataclass(frozen=True)
class GuidanceBlocks:
    """One row a (user, history position), padded to the widest with item 0.

    Args:
        users: int64 `[rows]`.
        positions: int64 `[rows]`. The history ends before this position.
        items: int32 `[rows, C]`.
        scores: float32 `[rows, C]`. 0 where there is none.
        labels: int32 `[rows, C]`.
    """

    users: np.ndarray
    positions: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "GuidanceBlocks":
        """Some of the rows, in the given order."""
        arrays = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        return GuidanceBlocks(**arrays)

    @property
    def pairs(self) -> int:
        """How many pairs of a row's items the scores order; a tie is none."""
        scored = self.items > 0
        return sum(
            int(((self.scores > self.scores[:, [column]]) & scored)[below].sum())
            for column, below in enumerate(scored.T)
        )

    @classmethod
    def of(cls, table: ScoreTable, *, probes: bool = False) -> "GuidanceBlocks":
        """Groups a score table by user.

        Args:
            table: the LLM's scores.
            probes: bool. The labelled probes, or (default) the candidates proper?

        Raises:
            DataError: when the table holds no pair to learn from.
        """
        chosen = np.flatnonzero((table.labels != UNKNOWN) == probes)
        key = np.stack([table.users[chosen], table.positions[chosen]])
        groups, row = np.unique(key, axis=1, return_inverse=True)
        row = row.ravel()
        order = np.argsort(row, kind="stable")
        chosen, row = chosen[order], row[order]
        counts = np.bincount(row, minlength=groups.shape[1])
        column = np.arange(len(row)) - (np.cumsum(counts) - counts)[row]
        width = int(counts.max(initial=0))

        def block(values: np.ndarray, fill: float, dtype: type) -> np.ndarray:
            padded: np.ndarray = np.full((groups.shape[1], width), fill, dtype)
            padded[row, column] = values[chosen]
            return padded

        users, items = groups[0], block(table.items, 0, np.int32)
        result = cls(
            users=users,
            positions=groups[1],
            items=items,
            scores=block(table.scores, 0, np.float32),
            labels=block(table.labels, UNKNOWN, np.int32),
        )
        if not result.pairs:
            what = "probe" if probes else "candidate"
            raise DataError(
                "Guidance needs users with two items that are scored differently. "
                f"Received: {len(chosen)} {what} scores of {len(users)} users and no "
                "such pair. Score more candidates a user, or with another teacher."
            )
        return result
