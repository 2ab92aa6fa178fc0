"""DeLong's test of whether two models' pooled AUCs on the same rows differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.evaluation.auc import check_rows


@dataclass(frozen=True)
class DeLong:
    """A difference of AUCs with its standard error.

    Args:
        difference: Model less baseline.
        error: Standard error of the difference.
        p_value: Two-sided, of no difference; 1 where the two never differ.
    """

    difference: float
    error: float
    p_value: float


def delong(labels: Any, model: Any, baseline: Any) -> DeLong:
    r"""DeLong's test of the difference of two correlated AUCs.

    With \(V^{10}_p\) the share of the negatives below positive p and \(V^{01}_n\) the
    share of the positives above negative n (ties count half), both as model less
    baseline, the difference is their mean and its variance \(S^{10}/P + S^{01}/N\), of
    their sample variances. Rows are taken as independent of one another: for users
    with several rows use the bootstrap over users.

    Args:
        labels: 0 or 1 a row, shape [rows].
        model: The model's scores, shape [rows], or [seeds, rows] for the mean over
            models that differ in their seed alone.
        baseline: The baseline's, of the same shape.

    Raises:
        DataError: Shapes differ, a label is not 0 or 1, a score is NaN, or there are
            fewer than 2 rows of a class.

    Source:
        DeLong, DeLong and Clarke-Pearson, Comparing the areas under two or more
        correlated receiver operating characteristic curves, Biometrics 44 (1988).

    Example:
        >>> found = delong([1, 1, 0, 0], [4, 3, 2, 1], [4, 2, 3, 1])
        >>> found.difference, round(found.error, 4), round(found.p_value, 4)
        (0.25, 0.3536, 0.4795)
    """
    models, baselines = np.atleast_2d(model), np.atleast_2d(baseline)
    if models.shape != baselines.shape:
        raise DataError(
            "`model` and `baseline` must have the same shape. Received: "
            f"{list(np.shape(model))} and {list(np.shape(baseline))}"
        )
    ours, theirs = _components(labels, models), _components(labels, baselines)
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    if min(map(len, differences)) < 2:
        raise DataError(
            "DeLong's test needs at least 2 rows of each class. Received: "
            f"{len(differences[0])} positives and {len(differences[1])} negatives"
        )
    difference = float(differences[0].mean())
    error = float(np.sqrt(sum(v.var(ddof=1) / len(v) for v in differences)))
    return DeLong(difference, error, _two_sided(difference, error))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down rule.

    Args:
        p_values: One a comparison; NaN is left alone and not counted.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    Source:
        Holm, A simple sequentially rejective multiple test procedure, Scandinavian
        Journal of Statistics 6 (1979).
    """
    p = np.asarray(p_values, np.float64)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    stepped = p[order] * np.arange(len(order), 0, -1)
    adjusted = p.copy()
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(value) for value in adjusted]


def _two_sided(difference: float, error: float) -> float:
    # Imported late: scipy.stats is slow to import.
    from scipy.stats import norm

    if error == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * norm.sf(abs(difference) / error))


def _components(labels: Any, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V10 and V01, each the mean over the models."""
    parts = [_of_one(labels, row) for row in scores]
    tens, ones = zip(*parts, strict=True)
    return np.mean(tens, axis=0), np.mean(ones, axis=0)


def _of_one(labels: Any, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = check_rows(labels, scores, "scores")
    positives, negatives = scores[labels == 1], scores[labels == 0]
    return _share_below(positives, negatives), 1 - _share_below(negatives, positives)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of the others, the share below each score; ties count half."""
    others = np.sort(others)
    below = np.searchsorted(others, scores, side="left")
    not_above = np.searchsorted(others, scores, side="right")
    return (below + not_above) / (2 * max(len(others), 1))
