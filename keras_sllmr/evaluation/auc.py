"""Pooled ROC-AUC (`auc_sampled`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sllmr.errors import DataError


class PooledAUC:
    """ROC-AUC over one pool of rows, sorted once, for any number of row weights.

    With positives p, negatives n, scores s and weights w,

        AUC = sum_pn w_p w_n ([s_p > s_n] + [s_p = s_n] / 2) / (sum_p w_p sum_n w_n)

    so a bootstrap replicate is one evaluation, with its counts as weights.

    Args:
        labels: 0 or 1 a row, shape [rows].
        scores: Score or logit a row, shape [rows]; only their order matters.
        units: Unit of each row, such as its user, whose weight it has: indices from
            0, shape [rows]. Default: every row is a unit of its own.

    Raises:
        DataError: Shapes differ, a label is not 0 or 1, a score is NaN, or the rows
            are all of one class.

    Example:
        >>> auc = PooledAUC([1, 0, 1, 0], [3.0, 2.0, 1.0, 1.0])
        >>> auc.evaluate([[1, 1, 1, 1], [1, 1, 0, 1]]).tolist()
        [0.625, 1.0]
    """

    def __init__(self, labels: Any, scores: Any, units: Any = None) -> None:
        labels, scores = check_rows(labels, scores, "scores")
        units = np.arange(len(labels)) if units is None else np.asarray(units)
        positive = labels == 1
        positives, negatives = np.flatnonzero(positive), np.flatnonzero(~positive)
        if not len(positives) or not len(negatives):
            raise DataError(
                "An AUC needs rows of both classes. Received: "
                f"{len(positives)} positives and {len(negatives)} negatives"
            )
        self.units = int(units.max()) + 1
        negatives = negatives[np.argsort(scores[negatives], kind="stable")]
        self._positives, self._negatives = units[positives], units[negatives]
        ordered, ranked = scores[negatives], scores[positives]
        self._below = np.searchsorted(ordered, ranked, side="left")
        self._below_or_tied = np.searchsorted(ordered, ranked, side="right")

    def evaluate(self, weights: Any) -> np.ndarray:
        """AUC under each vector of the units' weights.

        Args:
            weights: Non-negative, shape [replicates, units]; units beyond the rows'
                last one do not count.

        Returns:
            Shape [replicates].

        Raises:
            DataError: The shape is another, a weight is negative or not finite, or
                a class has no weight.
        """
        weights = np.asarray(weights, np.float64)
        if weights.ndim != 2 or weights.shape[1] < self.units:
            raise DataError(
                f"`weights` must have shape [replicates, {self.units}]. Received: "
                f"{list(weights.shape)}"
            )
        if not np.all(np.isfinite(weights)) or np.any(weights < 0):
            raise DataError(
                "`weights` must be finite and not negative. Received: weights from "
                f"{weights.min()} to {weights.max()}"
            )
        positive = weights[:, self._positives]
        negative = np.zeros((len(weights), len(self._negatives) + 1))
        np.cumsum(weights[:, self._negatives], axis=1, out=negative[:, 1:])
        mass = positive.sum(axis=1) * negative[:, -1]
        if np.any(mass == 0):
            raise DataError(
                "An AUC needs weight on both classes. Received: "
                f"{np.count_nonzero(mass == 0)} weight vectors with one class only"
            )
        won = negative[:, self._below]
        won += negative[:, self._below_or_tied]
        return np.einsum("rp,rp->r", positive, won) / (2 * mass)

    def has_both_classes(self, weights: np.ndarray) -> np.ndarray:
        """Which vectors of weights [replicates, units] leave weight on both classes."""
        positive, negative = weights[:, self._positives], weights[:, self._negatives]
        return np.logical_and(positive.any(axis=1), negative.any(axis=1))


def auc_sampled(labels: Any, scores: Any, weights: Any = None) -> float:
    """ROC-AUC over the pool of all test positives and their sampled negatives.

    The share of (positive, negative) pairs, over all users, in which the positive
    scores higher; ties count half.

    Args:
        labels: 0 or 1 a row, shape [rows].
        scores: Score or logit a row, shape [rows]; only their order matters.
        weights: Non-negative weight a row, shape [rows]. Default: all 1.

    Returns:
        Between 0 and 1; 0.5 is chance.

    Raises:
        DataError: Shapes differ, a label is not 0 or 1, a score is NaN, a weight is
            negative, or there are rows of one class only.

    Example:
        >>> auc_sampled([1, 0, 1, 0], [3.0, 2.0, 1.0, 1.0])
        0.625
    """
    auc = PooledAUC(labels, scores)
    row_weights = np.ones(auc.units) if weights is None else np.asarray(weights)
    if row_weights.shape != (auc.units,):
        raise DataError(
            f"`weights` must have shape [{auc.units}]. Received: "
            f"{list(row_weights.shape)}"
        )
    return float(auc.evaluate(row_weights[np.newaxis])[0])


def check_rows(labels: Any, scores: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores as arrays, or a `DataError` that says what is wrong."""
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape or not len(labels):
        raise DataError(
            f"`labels` and `{name}` must both have shape [rows], with at least one "
            f"row. Received: {list(labels.shape)} and {list(scores.shape)}"
        )
    if not np.all((labels == 0) | (labels == 1)):
        raise DataError(
            f"`labels` must be 0 or 1. Received: {np.unique(labels)[:5].tolist()}"
        )
    if np.any(np.isnan(scores)):
        raise DataError(
            f"`{name}` must not be NaN. Received: {np.isnan(scores).sum()} NaN in "
            f"{len(scores)} rows; a model that gives NaN has usually diverged"
        )
    return labels, scores
