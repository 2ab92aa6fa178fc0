"""Blocks of LLM-scored items a user, out of the score table."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.store.draws import mix
from keras_sllmr.store.score_table import UNKNOWN, ScoreTable
from keras_sllmr.store.scored_pairs import ScoredPairs

_SHUFFLE = 305


@dataclass(frozen=True)
class GuidanceBlocks:
    """One row a (user, history position), padded to the widest with item 0.

    Args:
        users: int64 `[rows]`.
        positions: int64 `[rows]`. The history ends before this position.
        items: int32 `[rows, C]`.
        scores: float32 `[rows, C]`. 0 where there is none.
        labels: int32 `[rows, C]`.
        reference: float32 `[rows, C]`. A reference model's logits, if there is one.
    """

    users: np.ndarray
    positions: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    reference: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "GuidanceBlocks":
        """Some of the rows, in the given order."""
        chosen: dict[str, Any] = {}
        for field in fields(self):
            values = getattr(self, field.name)
            chosen[field.name] = None if values is None else values[rows]
        return GuidanceBlocks(**chosen)

    def joined(self, other: "GuidanceBlocks") -> "GuidanceBlocks":
        """These rows and, below them, those of another without a reference."""
        width = max(self.items.shape[1], other.items.shape[1])

        def stack(name: str) -> np.ndarray:
            parts = [getattr(block, name) for block in (self, other)]
            if parts[0].ndim == 2:
                missing = [width - part.shape[1] for part in parts]
                fill = UNKNOWN if name == "labels" else 0
                parts = [
                    np.pad(part, ((0, 0), (0, more)), constant_values=fill)
                    for part, more in zip(parts, missing, strict=True)
                ]
            return np.concatenate(parts)

        names = ("users", "positions", "items", "scores", "labels")
        return GuidanceBlocks(**{name: stack(name) for name in names})

    def shuffled(self, rows: np.ndarray, seed: int) -> "GuidanceBlocks":
        """The same with the scores of some rows dealt out anew among the row's items.

        A control: what is left is a teacher of the same confidence who knows nothing.

        Args:
            rows: bool `[rows]`. Which rows.
            seed: int. Of the order, a pure function of it and the user.
        """
        width = self.items.shape[1]
        key = mix(seed, _SHUFFLE, self.users[:, np.newaxis], np.arange(width))
        scored = self.items > 0
        # Both orders put the row's scored items first.
        to = np.argsort(np.where(scored, 0.0, 1.0), axis=1, kind="stable")
        dealt = np.argsort(np.where(scored, key / 2.0**64, 2.0), axis=1, kind="stable")
        scores = self.scores.copy()
        moved = np.take_along_axis(self.scores, dealt, axis=1)
        np.put_along_axis(scores, to, moved, axis=1)
        return replace(self, scores=np.where(rows[:, np.newaxis], scores, self.scores))

    @property
    def pairs(self) -> int:
        """How many pairs of a row's items the scores order; a tie is none."""
        scored = self.items > 0
        return sum(
            int(((self.scores > self.scores[:, [column]]) & scored)[below].sum())
            for column, below in enumerate(scored.T)
        )

    @classmethod
    def grouped(cls, pairs: ScoredPairs, *, probes: bool = False) -> "GuidanceBlocks":
        """Groups scores by user and position, be there something to learn or not.

        Args:
            pairs: the LLM's scores.
            probes: bool. The labelled probes, or (default) the candidates proper?
        """
        chosen = np.flatnonzero((pairs.labels != UNKNOWN) == probes)
        key = np.stack([pairs.users[chosen], pairs.positions[chosen]])
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

        return cls(
            users=groups[0],
            positions=groups[1],
            items=block(pairs.items, 0, np.int32),
            scores=block(pairs.scores, 0, np.float32),
            labels=block(pairs.labels, UNKNOWN, np.int32),
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
        result = cls.grouped(table.pairs, probes=probes)
        if not result.pairs:
            what = "probe" if probes else "candidate"
            raise DataError(
                "Guidance needs users with two items that are scored differently. "
                f"Received: {int((result.items > 0).sum())} {what} scores of "
                f"{len(result)} users and no "
                "such pair. Score more candidates a user, or with another teacher."
            )
        return result
