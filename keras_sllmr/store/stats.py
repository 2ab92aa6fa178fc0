"""A store's statistics, as the paper's Table 1 counts them."""

from typing import Any

import numpy as np

from keras_sllmr.store.columns import Column
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.split import LeaveOneOut


def stats(
    split: LeaveOneOut, *, cold_max: int = 3, tail_share: float = 0.2
) -> dict[str, Any]:
    """Counts users, items, interactions, training rows, cold rows and tail items.

    Args:
        split: the store's split.
        cold_max: int. A training row is cold when its history holds at most this many
            items. Defaults to `3`.
        tail_share: float. Share of the catalogue in the long tail. Defaults to `0.2`.

    Returns:
        `users, items, interactions, train_rows, cold_rows, tail_items`. Training rows
        are one positive and one sampled negative each (the paper's "#Reviews"). With
        further columns also `columns`: of each its entity, its kind, in how many rows
        it is unknown, and `categories`, or `mean` and `std`.
    """
    counted: dict[str, Any] = {
        "users": split.store.n_users,
        "items": split.store.n_items,
        "interactions": int(split.lengths.sum()),
        "train_rows": 2 * len(split.train),
        "cold_rows": 2 * int(np.sum(split.train.positions <= cold_max)),
        "tail_items": int(tail_items(split.train_counts, share=tail_share).sum()),
    }
    columns = split.store.columns
    if columns:
        counted["columns"] = {name: _column(columns[name]) for name in columns}
    return counted


def _column(column: Column) -> dict[str, Any]:
    first = 0 if column.entity == "context" else 1
    about = {
        "entity": column.entity,
        "kind": column.kind,
        "unknown": int(column.unknown[first:].sum()),
    }
    if column.kind == "numeric":
        return about | {"mean": column.mean, "std": column.std}
    return about | {"categories": column.n_categories}
