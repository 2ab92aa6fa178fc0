"""Several teachers as one: the weighted mean of their standardised scores."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.calibration import Standardised


def mixture_weights(
    weights: Sequence[float] | None, number: int, *, of: str
) -> list[float]:
    """The weights of a mixture's parts, checked.

    Args:
        weights: positive floats, one a part; none for equal weights.
        number: int. Of the parts.
        of: str. What a part is.

    Raises:
        ConfigError: when there is no part, or a weight is lacking or not positive.

    Example:
        >>> mixture_weights(None, 2, of="teacher")
        [1.0, 1.0]
    """
    given = [1.0] * number if weights is None else [float(part) for part in weights]
    right = all(0 < part < math.inf for part in given)
    if not given or len(given) != number or not right:
        raise ConfigError(
            f"`weights` must hold one positive number a {of}. Received: "
            f"weights={given} for {number} {of}s"
        )
    return given


class MixtureTeacher:
    r"""Weighted mean over teachers, \(s = \sum_k w_k z_k / \sum_k w_k\).

    Where a teacher has no answer the others' weights count alone.

    Args:
        teachers: standardised teachers.
        weights: positive floats, one a teacher. Defaults to equal weights.
    """

    def __init__(
        self, teachers: Sequence[Standardised], weights: Sequence[float] | None = None
    ) -> None:
        weights = mixture_weights(weights, len(teachers), of="teacher")
        self.teachers, self.weights = list(teachers), weights
        self.name = "+".join(teacher.name for teacher in teachers)

    def describe(self) -> dict[str, Any]:
        """The parts and their weights."""
        return {
            "name": self.name,
            "weights": self.weights,
            "teachers": [teacher.describe() for teacher in self.teachers],
        }

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """See `Teacher.score`."""
        total = np.zeros(candidates.shape, np.float64)
        weight = np.zeros(candidates.shape, np.float64)
        for teacher, share in zip(self.teachers, self.weights, strict=True):
            scores = teacher.score(histories, candidates)
            answered = ~np.isnan(scores)
            total += np.where(answered, share * scores, 0)
            weight += share * answered
        with np.errstate(invalid="ignore"):
            mean = np.where(weight > 0, total / weight, np.nan)
        return mean.astype(np.float32)
