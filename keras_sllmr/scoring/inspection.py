"""What a score table is worth a look for: coverage, scores, agreement, cost."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.scoring.agreement import agreement
from keras_sllmr.scoring.reliability import probe_pairs
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut

#: per cent.
QUANTILES = (0, 5, 25, 50, 75, 95, 100)
BINS = 10
_IDENTITY = ("name", "model", "endpoint", "prompt", "prompt_hash", "weights")


def inspect_table(
    table: ScoreTable,
    split: LeaveOneOut,
    *,
    cold_max: int = 3,
    tail_share: float = 0.2,
) -> dict[str, Any]:
    """A score table by coverage, distribution, agreement on probes, cost and failures.

    Args:
        table: of the LLM's scores.
        split: its store's split.
        cold_max: int. A user with at most this many training events is cold. Defaults
            to `3`.
        tail_share: float. Share of the catalogue in the long tail. Defaults to `0.2`.

    Returns:
        Plain values: `teacher`, `pairs`, `missing` (without a score), `imputed` (with a
        score but no answer), `coverage` (see `coverage`), `distribution` (see
        `distribution`; None without scores), `agreement` (see `agreement.agreement`;
        None without probes), `cost` and `failures`.

    Example:
        >>> inspect_table(table, split)["coverage"]["users"]["cold"]  # doctest: +SKIP
        {'number': 7162, 'scored': 7162, 'share': 1.0, 'pairs_each': 29.77}
    """
    cold = split.train_lengths <= cold_max
    tail = tail_items(split.train_counts, share=tail_share)
    pairs = probe_pairs(table, split, cold_max=cold_max, tail_share=tail_share)
    cost = table.manifest.get("cost", {})
    return {
        "teacher": _identity(table.manifest["teacher"]),
        "pairs": len(table),
        "missing": table.manifest["counts"].get("missing", 0),
        "imputed": int((table.answers == 0).sum()),
        "coverage": coverage(table, cold, tail),
        "distribution": distribution(table),
        "agreement": agreement(pairs, split, tail_share=tail_share),
        "cost": _cost(cost, len(table)),
        "failures": {
            "missing": table.manifest.get("missing", {}),
            "failed": cost.get("failed", {}),
            "problems": cost.get("problems", {}),
            "stopped_by": cost.get("stopped_by"),
        },
    }


def coverage(table: ScoreTable, cold: np.ndarray, tail: np.ndarray) -> dict[str, Any]:
    """Who and what has scores, by slice and by why they were asked for.

    Args:
        table: of the LLM's scores.
        cold: bool `[n_users + 1]`. Users with few training events.
        tail: bool `[n_items + 1]`. Items of the long tail.

    Returns:
        `share` of all (user, item) pairs; `users` (all, cold, warm) and `items` (all,
        tail, other), without the slices that have no member: their `number`, how many
        are `scored` once or more, their `share`, and the mean `pairs_each`; `origins`:
        `pairs`, `share` of the table, and the mean pairs `each` member of those slices.
    """
    users = {"all": np.full(len(cold), True), "cold": cold, "warm": ~cold}
    items = {"all": np.full(len(tail), True), "tail": tail, "other": ~tail}
    sides = {"users": (table.users, users), "items": (table.items, items)}
    origins: dict[str, Any] = {}
    for origin in np.unique(table.origins).tolist():
        of = table.origins == origin
        each = {
            name: found["pairs_each"]
            for indices, slices in sides.values()
            for name, found in _covered(indices[of], slices).items()
            if name != "all"
        }
        number = int(of.sum())
        origins[origin] = {"pairs": number, "share": number / len(table), "each": each}
    return {
        "share": table.coverage,
        **{side: _covered(*given) for side, given in sides.items()},
        "origins": origins,
    }


def _covered(indices: np.ndarray, slices: Mapping[str, np.ndarray]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, members in slices.items():
        # Index 0 is padding.
        counts = np.bincount(indices, minlength=len(members))[1:][members[1:]]
        if len(counts):
            found[name] = {
                "number": len(counts),
                "scored": int((counts > 0).sum()),
                "share": float((counts > 0).mean()),
                "pairs_each": float(counts.mean()),
            }
    return found


def distribution(table: ScoreTable) -> dict[str, Any] | None:
    """How a table's scores are spread, over all and within users.

    Args:
        table: of the LLM's scores.

    Returns:
        None without scores; else `quantiles` by per cent; `histogram`, counts of 10
        equal bins of [0, 1]; `distinct` values; the shares of exactly 0, ½ and 1;
        `ties`, the share of pairs of scores within a user that are equal;
        `std_within_users`, the mean of their standard deviations; and of the scores
        that average several answers their number `averaged`, mean `answers` and mean
        `spread`. None where nothing has that figure.
    """
    if not len(table):
        return None
    scores = table.scores.astype(np.float64)
    by_user = pd.Series(scores).groupby(table.users)
    sizes = by_user.size()
    # Scores alike within a user, of each value.
    alike = pd.Series(table.users).groupby([table.users, scores]).size()
    comparisons = _pairs_of(sizes)
    averaged = table.answers > 1
    return {
        "quantiles": {
            str(percent): float(np.quantile(scores, percent / 100))
            for percent in QUANTILES
        },
        "histogram": np.histogram(scores, bins=BINS, range=(0, 1))[0].tolist(),
        "distinct": len(np.unique(scores)),
        "share_0": float((scores == 0).mean()),
        "share_half": float((scores == 0.5).mean()),
        "share_1": float((scores == 1).mean()),
        "ties": _pairs_of(alike) / comparisons if comparisons else None,
        "std_within_users": _mean(by_user.std(ddof=0)[sizes > 1]),
        "averaged": int(averaged.sum()),
        "answers": _mean(table.answers[averaged]),
        "spread": _mean(table.spread[averaged]),
    }


def _pairs_of(sizes: pd.Series) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _mean(values: np.ndarray | pd.Series) -> float | None:
    return float(np.asarray(values, np.float64).mean()) if len(values) else None


def _identity(teacher: Mapping[str, Any]) -> dict[str, Any]:
    """Who scored, down to the parts of a mixture."""
    found = {name: teacher[name] for name in _IDENTITY if name in teacher}
    if teacher.get("teachers"):
        found["teachers"] = [_identity(part) for part in teacher["teachers"]]
    return found


def _cost(cost: Mapping[str, Any], pairs: int) -> dict[str, Any]:
    """The figures of a cost, and USD per 1,000 scores."""
    figures = {
        name: value
        for name, value in cost.items()
        if isinstance(value, int | float) or name == "usd"
    }
    usd = figures.get("usd")
    per = 1000 * usd / pairs if usd is not None and pairs else None
    return {**figures, "usd_per_1000_pairs": per, "ledger": cost.get("ledger")}
