"""How often the teacher is right, on its probes."""

from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.score_table import NEGATIVE, POSITIVE, ScoreTable
from keras_sllmr.store.split import LeaveOneOut


def probe_pairs(
    table: ScoreTable,
    split: LeaveOneOut,
    *,
    cold_max: int = 3,
    tail_share: float = 0.2,
) -> pd.DataFrame:
    """Every hidden training positive beside each of its sampled negatives.

    Args:
        table: the LLM's scores, with probes.
        split: the store's split.
        cold_max: int. A user with at most this many training events is cold.
        tail_share: float. Share of the catalogue in the long tail.

    Returns:
        Columns `user`, `item` (the positive) and `negative` (indices), `gap` (absolute
        score difference), `right` (1, 0, or ½ for a tie), `cold` (bool, of the user)
        and `tail` (bool, of the positive).
    """
    tail = tail_items(split.train_counts, share=tail_share)
    frame = pd.DataFrame(
        {
            "user": table.users,
            "item": table.items,
            "score": table.scores,
            "label": table.labels,
        }
    )
    pairs = frame[frame["label"] == POSITIVE].merge(
        frame[frame["label"] == NEGATIVE], on="user", suffixes=("", "_negative")
    )
    difference = pairs["score"] - pairs["score_negative"]
    return pd.DataFrame(
        {
            "user": pairs["user"],
            "item": pairs["item"],
            "negative": pairs["item_negative"],
            "gap": difference.abs(),
            "right": np.where(difference == 0, 0.5, difference > 0).astype(float),
            "cold": split.train_lengths[pairs["user"].to_numpy()] <= cold_max,
            "tail": tail[pairs["item"].to_numpy()],
        }
    )


def reliability(pairs: pd.DataFrame, *, bins: int = 8) -> dict[str, Any]:
    """Accuracy of the teacher's orderings, overall, by slice and by score gap.

    Args:
        pairs: from `probe_pairs`.
        bins: int. Bins of equally many pairs by gap.

    Returns:
        `pairs`, `accuracy`, `slices` and `bins`, as plain values.
    """

    def figures(rows: pd.DataFrame) -> dict[str, Any]:
        return {"pairs": len(rows), "accuracy": float(rows["right"].mean())}

    slices = {"all": pairs, "cold": pairs[pairs["cold"]], "tail": pairs[pairs["tail"]]}
    return {
        **figures(pairs),
        "slices": {name: figures(rows) for name, rows in slices.items() if len(rows)},
        "bins": [{**gap, **figures(rows)} for gap, rows in gap_bins(pairs, bins=bins)],
    }


def gap_bins(
    pairs: pd.DataFrame, *, bins: int = 8
) -> list[tuple[dict[str, float], pd.DataFrame]]:
    """Bins of equally many pairs by score gap; equal gaps share one.

    Args:
        pairs: from `probe_pairs`.
        bins: int. Their number, if that many gaps differ. Defaults to `8`.

    Returns:
        Of each bin `gap_low`, `gap_high` and the mean `gap`, and its pairs.
    """
    edges = np.unique(np.quantile(pairs["gap"], np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, pairs["gap"], "right") - 1, 0, None)
    place = np.minimum(place, max(len(edges) - 2, 0))
    return [
        (
            {
                "gap_low": float(rows["gap"].min()),
                "gap_high": float(rows["gap"].max()),
                "gap": float(rows["gap"].mean()),
            },
            rows,
        )
        for _, rows in pairs.groupby(place)
    ]


def describe_table(
    table: ScoreTable, split: LeaveOneOut, *, cold_max: int = 3, tail_share: float = 0.2
) -> dict[str, Any]:
    """What a score table holds: teacher, coverage, origins, reliability.

    `inspection.inspect_table` says more of it.
    """
    pairs = probe_pairs(table, split, cold_max=cold_max, tail_share=tail_share)
    origins, counts = np.unique(table.origins, return_counts=True)
    return {
        "name": table.manifest["teacher"]["name"],
        "pairs": len(table),
        "missing": table.manifest["counts"]["missing"],
        "coverage": table.coverage,
        "users": len(np.unique(table.users)),
        "items": len(np.unique(table.items)),
        "origins": dict(zip(origins.tolist(), counts.tolist(), strict=True)),
        "reliability": reliability(pairs) if len(pairs) else None,
        "cost": table.manifest["cost"],
        "teacher": table.manifest["teacher"],
    }
