"""Where the teacher orders its probes as the users did, and how sure that is."""

from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.scoring.reliability import gap_bins
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.split import LeaveOneOut

#: training events of the user, from and to; the last one is open.
HISTORY_BINS = ((1, 3), (4, 7), (8, 15), (16, None))
# The 97.5 % quantile of the normal distribution.
_Z = 1.959964


def agreement(
    pairs: pd.DataFrame, split: LeaveOneOut, *, tail_share: float = 0.2
) -> dict[str, Any] | None:
    """How often a teacher scores a hidden positive above a negative, slice by slice.

    Args:
        pairs: from `reliability.probe_pairs`.
        split: the store's split.
        tail_share: float. Share of the catalogue in the long tail, and likewise in the
            head. Defaults to `0.2`.

    Returns:
        None without pairs; else `all`, `history` (by the user's training events),
        `popularity` (of the positive: tail, middle, head), `negative` (less, as or more
        popular than the positive, by training events: a teacher that is right on the
        first and wrong on the last follows popularity) and `gap` (by the difference of
        the scores), each with the figures of `accuracy`. Slices without a pair are left
        out.
    """
    if not len(pairs):
        return None
    counts = split.train_counts
    events = split.train_lengths[pairs["user"]]
    more = counts[pairs["negative"]] - counts[pairs["item"]]
    band = _bands(counts, tail_share)[pairs["item"]]
    history = {
        f"{low}+" if high is None else f"{low}-{high}": (events >= low)
        & (events <= (high or np.inf))
        for low, high in HISTORY_BINS
    }
    popularity = {"tail": band == 0, "middle": band == 1, "head": band == 2}
    negative = {
        "less_popular": more < 0,
        "as_popular": more == 0,
        "more_popular": more > 0,
    }

    def sliced(masks: dict[str, np.ndarray]) -> dict[str, Any]:
        return {name: accuracy(pairs[m]) for name, m in masks.items() if m.any()}

    return {
        "all": accuracy(pairs),
        "history": sliced(history),
        "popularity": sliced(popularity),
        "negative": sliced(negative),
        "gap": [{**gap, **accuracy(rows)} for gap, rows in gap_bins(pairs)],
    }


def accuracy(pairs: pd.DataFrame) -> dict[str, Any]:
    r"""Share of pairs in the right order, with a 95 % interval over users.

    With the mean p of n pairs of U users, whose pairs hang together, the variance is
    \(V = \frac{U}{U-1} \sum_u (\sum_{i \in u} (r_i - p))^2 / n^2\), and the interval
    Wilson's at the effective size \(p(1-p)/V\), which is at most n (Korn and Graubard
    1998). Where V says nothing, with one user or all alike, that size is U.

    Args:
        pairs: one or more, with `user` and `right` (1, 0, or ½ for a tie).

    Returns:
        `pairs`, `users`, `accuracy`, and the interval's `low` and `high`.

    Example:
        >>> found = accuracy(pd.DataFrame({"user": [1, 1, 2], "right": [1, 1, 1]}))
        >>> found["accuracy"], round(found["low"], 2), found["high"]
        (1.0, 0.34, 1.0)
    """
    users, place = np.unique(pairs["user"], return_inverse=True)
    right = pairs["right"].to_numpy(np.float64)
    n, clusters, mean = len(right), len(users), float(right.mean())
    sums = np.bincount(place, right - mean)
    variance = clusters / max(clusters - 1, 1) * float((sums**2).sum()) / n**2
    size = float(clusters)
    # Equal users differ by rounding alone.
    if clusters > 1 and variance > 1e-15:
        size = min(mean * (1 - mean) / variance, n)
    centre = (mean + _Z**2 / (2 * size)) / (1 + _Z**2 / size)
    half = np.sqrt(mean * (1 - mean) / size + _Z**2 / (4 * size**2))
    half *= _Z / (1 + _Z**2 / size)
    return {
        "pairs": n,
        "users": clusters,
        "accuracy": mean,
        "low": float(np.clip(centre - half, 0, mean)),
        "high": float(np.clip(centre + half, mean, 1)),
    }


def _bands(counts: np.ndarray, share: float) -> np.ndarray:
    """By item 0 in the tail, 2 in the head, 1 between."""
    tail = tail_items(counts, share=share)
    head = ~tail & ~tail_items(counts, share=1 - share)
    return 1 - tail.astype(int) + head
