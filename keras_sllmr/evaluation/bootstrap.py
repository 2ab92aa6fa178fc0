"""Confidence intervals of the difference of two models, over users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.auc import PooledAUC

_WEIGHTS_AT_ONCE = 4_000_000  # 32 MB of float64, some five times over


@dataclass(frozen=True)
class Difference:
    """A difference of two models with its confidence interval.

    Args:
        difference: Model less baseline, on all rows.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Probability that the interval stands for.
        replicates: Bootstrap replicates that it rests on.
        users: Users resampled.
    """

    difference: float
    low: float
    high: float
    level: float
    replicates: int
    users: int

    @property
    def better(self) -> bool:
        """Whether the model beats the baseline and the interval excludes 0."""
        return self.low > 0


def paired_bootstrap(
    users: Any,
    model: Any,
    baseline: Any,
    *,
    labels: Any = None,
    level: float = 0.95,
    replicates: int = 1000,
    seed: int = 0,
) -> Difference:
    """Percentile bootstrap of `model - baseline`, paired, over users.

    A replicate draws as many users as there are, with replacement; all rows of a user
    come together, with both models' values, so what the models have in common cancels
    out. Without `labels` the statistic is the mean of per-row values; with `labels`
    it is the pooled AUC of the scores (`auc_sampled`). A replicate in which no row of
    one class was drawn has no AUC and is left out.

    Args:
        users: User of each row, integers, shape [rows].
        model: Values or scores of the model, shape [rows].
        baseline: Values or scores of the baseline on the same rows, shape [rows].
        labels: 0 or 1 a row, shape [rows], for pooled AUC. Default: means of values.
        level: Probability of the interval. Default 0.95.
        replicates: Number of replicates. Default 1000.
        seed: Of the draws; the same seed gives the same interval. Default 0.

    Raises:
        ConfigError: `level` is not between 0 and 1, or `replicates` is less than 1.
        DataError: Shapes differ, a value is NaN, there are fewer than 2 users, labels
            are of one class, or half of the replicates have no AUC.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.

    Example:
        >>> paired_bootstrap([1, 1, 2], [0.7, 0.9, 0.8], [0.6, 0.8, 0.7]).better
        True
    """
    if not 0 < level < 1:
        raise ConfigError(f"`level` must be between 0 and 1. Received: {level}")
    if replicates < 1:
        raise ConfigError(f"`replicates` must be at least 1. Received: {replicates}")
    users = np.asarray(users)
    model, baseline = np.asarray(model, np.float64), np.asarray(baseline, np.float64)
    if users.ndim != 1 or not users.shape == model.shape == baseline.shape:
        raise DataError(
            "`users`, `model` and `baseline` must all have shape [rows]. Received: "
            f"{list(users.shape)}, {list(model.shape)}, {list(baseline.shape)}"
        )
    if np.any(np.isnan(model)) or np.any(np.isnan(baseline)):
        raise DataError(
            "Values must not be NaN. Received: "
            f"{np.isnan(model).sum()} NaN of the model, "
            f"{np.isnan(baseline).sum()} of the baseline"
        )
    names, user_of_row = np.unique(users, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"At least 2 users are needed. Received: {len(names)}")
    statistic = (
        _MeanDifference(user_of_row, model - baseline)
        if labels is None
        else _AUCDifference(user_of_row, labels, model, baseline)
    )
    observed = statistic(np.ones((1, len(names))))[0]
    draws = _replicate(statistic, len(names), len(users), replicates, seed)
    if 2 * len(draws) <= replicates:
        raise DataError(
            "Most replicates must hold both classes; use more users. Received: "
            f"{len(draws)} of {replicates} replicates with both, {len(names)} users"
        )
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Difference(
        float(observed), float(low), float(high), level, len(draws), len(names)
    )


class _MeanDifference:
    """Mean of per-row differences, from how often each user was drawn."""

    def __init__(self, user_of_row: np.ndarray, differences: np.ndarray) -> None:
        self._sums = np.bincount(user_of_row, differences)
        self._rows = np.bincount(user_of_row)

    def __call__(self, drawn: np.ndarray) -> np.ndarray:
        return (drawn @ self._sums) / (drawn @ self._rows)


class _AUCDifference:
    """Difference of pooled AUCs, from how often each user was drawn."""

    def __init__(
        self,
        user_of_row: np.ndarray,
        labels: Any,
        model: np.ndarray,
        baseline: np.ndarray,
    ) -> None:
        self._user_of_row = user_of_row
        self._model = PooledAUC(labels, model)
        self._baseline = PooledAUC(labels, baseline)

    def __call__(self, drawn: np.ndarray) -> np.ndarray:
        weights = drawn[:, self._user_of_row]
        weights = weights[self._model.has_both_classes(weights)]
        return self._model.evaluate(weights) - self._baseline.evaluate(weights)


def _replicate(
    statistic: _MeanDifference | _AUCDifference,
    users: int,
    rows: int,
    replicates: int,
    seed: int,
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // max(users, rows))
    results = []
    for start in range(0, replicates, at_once):
        drawn = np.empty((min(at_once, replicates - start), users))
        for replicate in drawn:
            replicate[:] = np.bincount(rng.integers(users, size=users), minlength=users)
        results.append(statistic(drawn))
    return np.concatenate(results)
