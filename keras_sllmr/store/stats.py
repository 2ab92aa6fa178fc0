"""A store's statistics, as the paper's Table 1 counts them."""

import numpy as np

from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.split import LeaveOneOut


def stats(
    split: LeaveOneOut, *, cold_max: int = 3, tail_share: float = 0.2
) -> dict[str, int]:
    """Counts users, items, interactions, training rows, cold rows and tail items.

    Args:
        split: the store's split.
        cold_max: int. A training row is cold when its history holds at most this many
            items. Defaults to `3`.
        tail_share: float. Share of the catalogue in the long tail. Defaults to `0.2`.

    Returns:
        `users, items, interactions, train_rows, cold_rows, tail_items`. Training rows
        are one positive and one sampled negative each (the paper's "#Reviews").
    """
    return {
        "users": split.store.n_users,
        "items": split.store.n_items,
        "interactions": int(split.lengths.sum()),
        "train_rows": 2 * len(split.train),
        "cold_rows": 2 * int(np.sum(split.train.positions <= cold_max)),
        "tail_items": int(tail_items(split.train_counts, share=tail_share).sum()),
    }
