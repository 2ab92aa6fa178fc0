"""Scores on one scale: standardised against random items, then squashed to [0, 1]."""

from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.scoring.teachers.base import Teacher


class Standardised:
    r"""A teacher whose scores are z-scores against random (history, item) pairs.

    \(z = (s - \mu)/\sigma\), with μ and σ over uniformly drawn items, so that 0 means
    "like a random item" whatever candidates are scored.

    Args:
        teacher: the raw teacher.
        histories: int `[users, L]`. A sample of histories.
        items: int `[users, C]`. Random items for them.

    Raises:
        DataError: when the teacher answers none of them or gives one score to all.
    """

    def __init__(
        self, teacher: Teacher, histories: np.ndarray, items: np.ndarray
    ) -> None:
        self.teacher = teacher
        self.name = teacher.name
        scores = teacher.score(histories, items)
        # In double precision equal scores have a standard deviation of exactly 0.
        scores = scores[~np.isnan(scores)].astype(np.float64)
        if not len(scores) or scores.std() == 0:
            raise DataError(
                f"The teacher {teacher.name!r} cannot tell items apart: it gave "
                f"{len(scores)} answers with {len(np.unique(scores))} distinct scores. "
                "Are the item texts empty?"
            )
        self.mean, self.std = float(scores.mean()), float(scores.std())

    def describe(self) -> dict[str, Any]:
        """The teacher's description with μ and σ."""
        return {**self.teacher.describe(), "mean": self.mean, "std": self.std}

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Standardised scores, see `Teacher.score`."""
        raw = self.teacher.score(histories, candidates)
        return ((raw - self.mean) / self.std).astype(np.float32)


def to_unit_interval(scores: np.ndarray) -> np.ndarray:
    r"""Squashes standardised scores, \(s^{LLM} = 1/(1+e^{-z})\); NaN stays NaN."""
    return (1 / (1 + np.exp(-np.asarray(scores, np.float64)))).astype(np.float32)
