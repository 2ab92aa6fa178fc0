"""Metrics of every method on every slice, and paired differences."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sllmr.evaluation.auc import auc_sampled, log_loss
from keras_sllmr.evaluation.bootstrap import paired_bootstrap
from keras_sllmr.evaluation.heldout import TestRows
from keras_sllmr.evaluation.ranking_metrics import auc_full, ndcg_at, recall_at


def summarise(
    rows: TestRows,
    values: Mapping[str, Mapping[str, np.ndarray]],
    *,
    labels: Mapping[str, str],
    baseline: str = "none",
) -> dict[str, Any]:
    """Metrics of every method on every slice, and differences to the baseline.

    Args:
        rows: the test rows.
        values: per-row values by method, from `score_method`.
        labels: what to call each method.
        baseline: method that the others are compared with, when it is there.

    Returns:
        `slices`, `methods` and `differences`, as plain values.
    """
    methods = {
        name: {"label": labels.get(name, name), **_metrics(rows, of_method)}
        for name, of_method in values.items()
    }
    differences = [
        difference
        for name in values
        if name != baseline and baseline in values
        for difference in _differences(rows, values[name], values[baseline], name)
    ]
    for difference in differences:
        difference["baseline"] = baseline
    return {"slices": rows.counts(), "methods": methods, "differences": differences}


def _per_row(rows: TestRows, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics that have a value a test row."""
    if "above" not in values:
        return {}
    above, ties, k = values["above"], values["ties"], rows.settings.k
    return {
        "auc_full": auc_full(above, ties, values["candidates"]),
        f"ndcg@{k}": ndcg_at(above, ties, k=k),
        f"recall@{k}": recall_at(above, ties, k=k),
    }


def _metrics(rows: TestRows, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    logits = values["logits"]
    pools = rows.pools()
    metrics: dict[str, dict[str, float]] = {
        "auc_sampled": {
            name: auc_sampled(rows.labels[mask], logits[mask])
            for name, mask in pools.items()
        },
        "log_loss": {
            name: log_loss(rows.labels[mask], logits[mask])
            for name, mask in pools.items()
        },
    }
    for metric, per_row in _per_row(rows, values).items():
        figures = rows.slices.means(per_row)
        metrics[metric] = {name: figure.value for name, figure in figures.items()}
    return metrics


def _differences(
    rows: TestRows,
    values: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    method: str,
) -> list[dict[str, Any]]:
    settings = rows.settings
    options: dict[str, Any] = {
        "level": settings.level,
        "replicates": settings.replicates,
        "seed": settings.seed,
    }
    found = []

    def add(
        metric: str, name: str, mask: np.ndarray, *arrays: Any, **more: Any
    ) -> None:
        users, ours, theirs = (array[mask] for array in arrays)
        result = paired_bootstrap(users, ours, theirs, **more, **options)
        found.append(
            {
                "metric": metric,
                "slice": name,
                "method": method,
                "baseline": "",
                "difference": result.difference,
                "low": result.low,
                "high": result.high,
                "level": result.level,
                "users": result.users,
            }
        )

    for name, mask in rows.pools().items():
        add(
            "auc_sampled",
            name,
            mask,
            rows.users,
            values["logits"],
            baseline["logits"],
            labels=rows.labels[mask],
        )
    ours, theirs = _per_row(rows, values), _per_row(rows, baseline)
    for metric in ours.keys() & theirs.keys():
        for name, mask in rows.slices.items():
            add(metric, name, mask, rows.targets.users, ours[metric], theirs[metric])
    order = {metric: place for place, metric in enumerate(["auc_sampled", *ours])}
    return sorted(found, key=lambda row: order[row["metric"]])
