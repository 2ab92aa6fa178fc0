"""Scores on one scale: standardised against random items, then brought to [0, 1]."""

from typing import Any, get_args

import numpy as np

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.choices import Calibration, Missing
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
    # Beyond the range of exp the limit, 0, is right.
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-np.asarray(scores, np.float64)))).astype(np.float32)


def calibrate(scores: np.ndarray, method: Calibration = "minmax") -> np.ndarray:
    r"""Brings scores to [0, 1], each user's by themselves (paper 4.3, "normalized").

    Over the n scores s that a row has, the missing ones left out:

    - `none`: s, which must be in [0, 1].
    - `sigmoid`: \(1/(1+e^{-s})\), for standardised scores; see `Standardised`.
    - `minmax`: \((s - \min)/(\max - \min)\).
    - `rank`: \((r - ½)/n\) with the rank r from 1, the mean rank for ties.
    - `zscore`: \(1/(1+e^{-z})\) with \(z = (s - \mu)/\sigma\) of the row.

    By the last three a row of one score only becomes ½.

    Args:
        scores: float `[rows, C]`. More is better; NaN is missing and stays NaN.
        method: one of the above. Defaults to `"minmax"`.

    Returns:
        float32 `[rows, C]`.

    Raises:
        ConfigError: on an unknown method.
        DataError: when a score is infinite, or by `none` out of [0, 1].

    Example:
        >>> calibrate(np.array([[2.0, 6.0, np.nan, 4.0]]), "minmax").tolist()
        [[0.0, 1.0, nan, 0.5]]
        >>> calibrate(np.array([[7.0, 9.0, 7.0, 8.0]]), "rank").tolist()
        [[0.25, 0.875, 0.25, 0.625]]
    """
    _require_choice("method", method, get_args(Calibration))
    # Single precision, as teachers answer.
    with np.errstate(over="ignore"):
        values = np.asarray(scores, np.float32).astype(np.float64)
    if values.ndim != 2 or np.isinf(values).any():
        raise DataError(
            "Scores to calibrate must have shape [rows, C] and be finite numbers, or "
            f"NaN for missing. Received: shape {list(values.shape)} with "
            f"{np.isinf(values).sum()} infinite scores"
        )
    if method == "none":
        outside = (values < 0) | (values > 1)
        if outside.any():
            raise DataError(
                "Without calibration scores must be in [0, 1]. Received: "
                f"{values[outside][0]:g}, {outside.sum()} such scores. Choose another "
                f"calibration, one of {', '.join(get_args(Calibration)[1:])}."
            )
        return values.astype(np.float32)
    if method == "sigmoid":
        return to_unit_interval(values)
    if method == "rank":
        return _mid_ranks(values)
    known = ~np.isnan(values)
    low = np.where(known, values, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    high = np.where(known, values, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    if method == "minmax":
        spread = np.where(high > low, high - low, 1)
        unit = np.where(high > low, (values - low) / spread, 0.5)
        return np.where(known, unit, np.nan).astype(np.float32)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0).sum(axis=1, keepdims=True) / count
    variance = np.where(known, (values - mean) ** 2, 0).sum(1, keepdims=True) / count
    # By the range, as the mean of equal numbers need not be that number.
    deviation = np.sqrt(np.where(high > low, variance, 1))
    z = np.where(high > low, values - mean, 0) / deviation
    return to_unit_interval(np.where(known, z, np.nan))


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    below = np.zeros(values.shape)
    for column in range(values.shape[1]):
        other = values[:, column, None]
        below += (other < values) + 0.5 * (other == values)
    known = ~np.isnan(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    return np.where(known, below / count, np.nan).astype(np.float32)


def impute(scores: np.ndarray, missing: Missing = "drop") -> np.ndarray:
    """What becomes of pairs without an answer.

    Args:
        scores: float `[rows, C]` in [0, 1]; NaN is missing.
        missing: `"drop"` leaves NaN, so that a score table counts them as missing;
            `"half"` makes it 0.5, the paper's option. Defaults to `"drop"`.

    Returns:
        float32 `[rows, C]`.

    Raises:
        ConfigError: on an unknown option.

    Example:
        >>> impute(np.array([[1.0, np.nan]]), "half").tolist()
        [[1.0, 0.5]]
    """
    _require_choice("missing", missing, get_args(Missing))
    scores = np.asarray(scores, np.float32)
    if missing == "drop":
        return scores
    return np.where(np.isnan(scores), np.float32(0.5), scores)


def _require_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            f"`{name}` must be one of {', '.join(known)}. Received: {name}={value!r}"
        )
