"""Platt scaling: a teacher's scores as chances."""

import numpy as np
from scipy.special import expit, logit

from keras_sllmr.errors import ConfigError, DataError

#: a score of 0 or 1 counts as this far from it, and no chance comes nearer.
_NEAREST = 2.0**-20
# Of the sum over all rows, so that only data that decide nothing feel it.
_RIDGE = 1e-3


def platt(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    r"""Slope a and bias b that make a teacher's scores chances of a positive.

    Maximum likelihood of \(P(y = 1) = \sigma(a\,\mathrm{logit}(s) + b)\), by Newton's
    method in double precision, with the small penalty
    \(\frac{10^{-3}}{2}\big((a - 1)^2 + b^2\big)\) beside the sum over the rows: where
    the data leave a and b open or would have them infinite, as separable data, it keeps
    them finite. The chances are those of the sample's mix of positives and negatives.

    Args:
        scores: float `[...]` in [0, 1]. NaN is missing and left out.
        labels: `[...]`. 1 (positive) or 0 of each score.

    Returns:
        a and b.

    Raises:
        DataError: when the shapes differ, a score or label is out of its range, or the
            scores are not of positives and negatives both.

    Example:
        >>> scores, labels = np.array([0.2, 0.2, 0.8, 0.8]), np.array([0, 1, 1, 1])
        >>> slope, bias = platt(np.tile(scores, 1000), np.tile(labels, 1000))
        >>> apply_platt(np.array([0.2]), slope, bias).round(2).tolist()
        [0.5]

    Reference:
        Platt, "Probabilistic outputs for support vector machines and comparisons to
        regularized likelihood methods", 1999.
    """
    scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
    if scores.shape != labels.shape:
        raise DataError(
            "`scores` and `labels` must have one shape. Received: "
            f"{list(scores.shape)} and {list(labels.shape)}"
        )
    known = ~np.isnan(scores)
    x, y = _log_odds(scores[known]), labels[known]
    if not set(np.unique(y)) == {0, 1}:
        raise DataError(
            "Scores can only be calibrated on rows of both labels, 1 and 0. Received: "
            f"{len(y)} rows with the labels {np.unique(y)[:5].tolist()}"
        )
    return logistic(x, y)


def logistic(margins: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    r"""Slope a and bias b that make margins log-odds of a positive, see `platt`.

    Args:
        margins: float `[rows]`, finite: log-odds or a model's logits.
        labels: `[rows]`. 1 or 0.
    """
    x, y = np.asarray(margins, np.float64), np.asarray(labels, np.float64)
    design = np.stack([x, np.ones_like(x)])
    start = np.array([1.0, 0.0])

    def loss(found: np.ndarray) -> float:
        margin = found @ design
        penalty = _RIDGE / 2 * np.sum((found - start) ** 2)
        return float(np.sum(np.logaddexp(0, margin) - y * margin) + penalty)

    found = start
    for _ in range(100):
        chance = expit(found @ design)
        gradient = design @ (chance - y) + _RIDGE * (found - start)
        curvature = (design * (chance * (1 - chance))) @ design.T
        step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
        # Newton's method overshoots where the curve is flat.
        size, before = 1.0, loss(found)
        while loss(found - size * step) > before and size > 1e-9:
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < 1e-9 * (1 + np.abs(found).max()):
            break
    return float(found[0]), float(found[1])


def apply_platt(scores: np.ndarray, slope: float, bias: float) -> np.ndarray:
    r"""Chances \(\sigma(a\,\mathrm{logit}(s) + b)\) of scores, see `platt`.

    Args:
        scores: float `[...]` in [0, 1]. NaN stays NaN.
        slope: float. a.
        bias: float. b.

    Returns:
        float32 `[...]` in (0, 1).

    Raises:
        ConfigError: when `slope` or `bias` is not finite.
        DataError: when a score is out of its range.

    Example:
        >>> apply_platt(np.array([0.5, 1.0, np.nan]), 0.0, 0.0).tolist()
        [0.5, 0.5, nan]
    """
    if not np.isfinite([slope, bias]).all():
        raise ConfigError(
            f"`slope` and `bias` must be finite. Received: slope={slope}, bias={bias}"
        )
    chance = expit(slope * _log_odds(np.asarray(scores, np.float64)) + bias)
    return np.clip(chance, _NEAREST, 1 - _NEAREST).astype(np.float32)


def _log_odds(scores: np.ndarray) -> np.ndarray:
    outside = (scores < 0) | (scores > 1)
    if outside.any():
        raise DataError(
            "A teacher's scores must be in [0, 1]. Received: "
            f"{scores[outside][0]:g}, {outside.sum()} such scores"
        )
    return logit(np.clip(scores, _NEAREST, 1 - _NEAREST))
