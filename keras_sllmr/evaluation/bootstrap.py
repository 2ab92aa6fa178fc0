"""Bootstrap over users: a user's rows are drawn together, for all models alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.auc import PooledAUC
from keras_sllmr.evaluation.simultaneous import max_t_intervals

_WEIGHTS_AT_ONCE = 4_000_000  # 32 MB of float64, some five times over

#: How often each user was drawn, [replicates, users], to statistics [replicates, ...].
Statistic: TypeAlias = Callable[[np.ndarray], np.ndarray]

Name = TypeVar("Name", bound=Hashable)


class MeansOverUsers:
    """Means of rows' values, by how often each row's user was drawn.

    Args:
        users: Number of users.
        columns: Of each mean the place of each row's user among all users, int
            [rows], and one value a row, [rows].
    """

    def __init__(
        self, users: int, columns: Sequence[tuple[np.ndarray, np.ndarray]]
    ) -> None:
        def per_user(user_of_row: np.ndarray, values: Any = None) -> np.ndarray:
            return np.bincount(user_of_row, values, minlength=users)

        self._sums = np.stack([per_user(*column) for column in columns], axis=1)
        self._rows = np.stack([per_user(of_row) for of_row, _ in columns], axis=1)

    def __call__(self, drawn: np.ndarray) -> np.ndarray:
        """Shape [replicates, columns]; NaN where no row was drawn."""
        rows = drawn @ self._rows
        none = np.full(rows.shape, np.nan)
        return np.divide(drawn @ self._sums, rows, out=none, where=rows > 0)


class AUCOverUsers:
    """The pooled AUC of rows, by how often each row's user was drawn.

    Args:
        user_of_row: int [rows]. Place of each row's user among all users.
        labels: 0 or 1 a row, shape [rows].
        scores: Score or logit a row, shape [rows].
    """

    def __init__(self, user_of_row: np.ndarray, labels: Any, scores: Any) -> None:
        self._auc = PooledAUC(labels, scores, units=user_of_row)

    def __call__(self, drawn: np.ndarray) -> np.ndarray:
        """Shape [replicates]; NaN where no row of one of the classes was drawn."""
        both = self._auc.has_both_classes(drawn)
        found = np.full(len(drawn), np.nan)
        found[both] = self._auc.evaluate(drawn[both])
        return found


def replicated(
    statistics: Mapping[Name, Statistic],
    users: int,
    *,
    replicates: int,
    seed: int = 0,
    rows: int = 0,
) -> dict[Name, np.ndarray]:
    """Each statistic on all users and on bootstrap draws of them.

    A replicate draws as many users as there are, with replacement, and is the same for
    every statistic and in every call with the same `users`, `replicates` and `seed`:
    differences of what two calls found are paired.

    Args:
        statistics: By name.
        users: Number of users.
        replicates: Number of replicates, 0 for none.
        seed: Of the draws. Default 0.
        rows: Rows of the largest statistic, which bounds the memory. Default: `users`.

    Returns:
        By name, float64 [1 + replicates, ...]; row 0 is as observed.
    """
    parts = [
        {name: statistic(drawn) for name, statistic in statistics.items()}
        for drawn in _draws(users, replicates, seed, max(users, rows, 1))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in statistics}


def _draws(users: int, replicates: int, seed: int, rows: int) -> Iterator[np.ndarray]:
    yield np.ones((1, users))
    rng = np.random.default_rng(seed)
    at_once = max(1, _WEIGHTS_AT_ONCE // rows)
    for start in range(0, replicates, at_once):
        drawn = np.empty((min(at_once, replicates - start), users))
        for replicate in drawn:
            replicate[:] = np.bincount(rng.integers(users, size=users), minlength=users)
        yield drawn


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
    r"""Bootstrap interval of `model - baseline`, paired, over users.

    A replicate draws as many users as there are, with replacement; all rows of a user
    come together, with both models' values, so what the models have in common cancels
    out. Without `labels` the statistic is the mean of per-row values; with `labels`
    it is the pooled AUC of the scores (`auc_sampled`). The interval is
    \(\hat d \pm q\) with q the `level` quantile of \(|d^* - \hat d|\) over the
    replicates; one in which no row of a class was drawn has no AUC and is left out.

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
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 12
        and 13.

    Example:
        >>> paired_bootstrap([1, 1, 2], [0.7, 0.9, 0.8], [0.6, 0.8, 0.7]).better
        True
    """
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
    statistics: dict[int, Statistic]
    if labels is None:
        # One mean of differences: the difference of two sums would round.
        differences = [(user_of_row, model - baseline)]
        statistics = {0: MeansOverUsers(len(names), differences)}
    else:
        statistics = {
            sign: AUCOverUsers(user_of_row, labels, scores)
            for sign, scores in ((1, model), (-1, baseline))
        }
    found = replicated(
        statistics, len(names), replicates=replicates, seed=seed, rows=len(users)
    )
    values = found[0][:, 0] if labels is None else found[1] - found[-1]
    observed, drawn = values[0], values[1:][~np.isnan(values[1:])]
    if 2 * len(drawn) <= replicates:
        raise DataError(
            "Most replicates must hold both classes; use more users. Received: "
            f"{len(drawn)} of {replicates} replicates with both, {len(names)} users"
        )
    low, high = max_t_intervals([observed], drawn[:, np.newaxis], level=level)
    return Difference(
        float(observed), float(low[0]), float(high[0]), level, len(drawn), len(names)
    )
