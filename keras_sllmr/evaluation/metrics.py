"""Every metric of a result on every slice, as observed and on bootstrap draws."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from keras_sllmr.evaluation.bootstrap import (
    AUCOverUsers,
    MeansOverUsers,
    Statistic,
    replicated,
)
from keras_sllmr.evaluation.ranking_metrics import auc_full, ndcg_at, recall_at
from keras_sllmr.evaluation.result import Result
from keras_sllmr.training.calibration_table import calibration

#: Metric to slice to values, see `metric_values`.
Values: TypeAlias = dict[str, dict[str, np.ndarray]]


def metric_values(result: Result, *, replicates: int = 0, seed: int = 0) -> Values:
    """Every metric of a result on every slice.

    - `auc_sampled`: pooled ROC-AUC of the sampled rows, see `auc_sampled`.
    - `auc_full`, `ndcg@k`, `recall@k`: means of the full ranking's per-row values. Of
      a ranking against drawn items there is `auc_full` alone, an estimate.
    - `log_loss` and `brier`: means over the sampled rows. These hold as many positives
      as negatives, whatever the share of clicks in production.

    Args:
        result: the result.
        replicates: int. Bootstrap draws of users.
        seed: int. Of the draws, which are paired between results on the same rows.

    Returns:
        Metric to slice to float64 [1 + replicates]; entry 0 is as observed. NaN where
        a slice, or a draw from it, has no rows of some class.
    """
    users, user_of_row = np.unique(result.users, return_inverse=True)
    of_sampled, labels = np.tile(user_of_row, 2), result.labels
    masks = result.sampled()
    means = {
        (metric, name): (of_sampled[mask], values[mask])
        for metric, values in _sampled(result).items()
        for name, mask in masks.items()
    } | {
        (metric, name): (user_of_row[mask], values[mask])
        for metric, values in _ranked(result).items()
        for name, mask in result.slices.items()
    }
    statistics: dict[str, Statistic] = {
        f"auc {name}": _auc(of_sampled[mask], labels[mask], result.logits[mask])
        for name, mask in masks.items()
    }
    statistics["means"] = MeansOverUsers(len(users), list(means.values()))
    found = replicated(
        statistics,
        len(users),
        replicates=replicates,
        seed=seed,
        rows=len(result.logits),
    )
    metrics: Values = {"auc_sampled": {name: found[f"auc {name}"] for name in masks}}
    for (metric, name), values in zip(means, found["means"].T, strict=True):
        metrics.setdefault(metric, {})[name] = values
    return {metric: metrics[metric] for metric in sorted(metrics, key=_place)}


def calibrated(result: Result) -> dict[str, Any]:
    """How well the sampled rows' chances agree with their labels.

    Returns:
        `ece`, `brier` and `bins`, see `training.calibration_table.calibration`. The
        base rate is one half, as every positive comes with one sampled negative.
    """
    found = calibration(_chances(result), result.labels)
    return {name: found[name] for name in ("ece", "brier", "bins")}


def _chances(result: Result) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -result.logits.astype(np.float64)))


def _auc(user_of_row: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> Statistic:
    if 0 < labels.sum() < len(labels):
        return AUCOverUsers(user_of_row, labels, logits)
    return lambda drawn: np.full(len(drawn), np.nan)


def _sampled(result: Result) -> dict[str, np.ndarray]:
    """The chances' metrics, a value a sampled row."""
    labels, logits = result.labels, result.logits.astype(np.float64)
    return {
        "log_loss": np.logaddexp(0.0, np.where(labels == 1, -logits, logits)),
        "brier": (_chances(result) - labels) ** 2,
    }


def _ranked(result: Result) -> dict[str, np.ndarray]:
    """The full ranking's metrics, a value a test row."""
    if not result.ranks:
        return {}
    above, ties, k = result.ranks["above"], result.ranks["ties"], result.about["k"]
    found = {"auc_full": auc_full(above, ties, result.ranks["candidates"])}
    if result.full_sample is not None:
        return found  # The first k of a few items are not those of the catalogue.
    return found | {
        f"ndcg@{k}": ndcg_at(above, ties, k=k),
        f"recall@{k}": recall_at(above, ties, k=k),
    }


def _place(metric: str) -> int:
    """Both AUCs first, then the ranking's other metrics, then the chances'."""
    order = ("auc_sampled", "auc_full", "", "log_loss", "brier")
    return order.index(metric if metric in order else "")
