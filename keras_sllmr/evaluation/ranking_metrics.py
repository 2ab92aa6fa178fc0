"""Metrics of a full ranking, one value a test row.

All take what `full_ranking` counts: how many candidates score above the row's positive
and how many tie with it. Within a tie any order is equally likely, and each metric is
the expected value over those orders. Compute rows first and average them second, so
that slices and the bootstrap can use the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError, DataError


def auc_full(above: Any, ties: Any, candidates: Any) -> np.ndarray:
    """Share of the candidates that score below the positive; ties count half.

        auc = (below + ties / 2) / candidates,  below = candidates - above - ties

    Args:
        above: Candidates that score above the positive, shape [rows].
        ties: Candidates that score exactly as the positive, shape [rows].
        candidates: Candidates in all, the positive not counted, shape [rows].

    Returns:
        One value a row, float64 [rows].

    Raises:
        DataError: A count is negative, a row has no candidates, or more above and
            tied than candidates.

    Example:
        >>> auc_full([0, 5], [0, 2], [10, 10]).tolist()
        [1.0, 0.4]
    """
    above, ties = _counts(above, ties)
    candidates = np.asarray(candidates)
    if np.any(candidates < 1) or np.any(above + ties > candidates):
        raise DataError(
            "Each row needs at least one candidate, and no more above and tied than "
            f"candidates. Received: least candidates={np.min(candidates)}, most above "
            f"and tied={np.max(above + ties)}"
        )
    return (candidates - above - ties / 2) / candidates


def recall_at(above: Any, ties: Any, k: int = 10) -> np.ndarray:
    """Probability that the positive is among the first k of the ranking.

    Args:
        above: Candidates that score above the positive, shape [rows].
        ties: Candidates that score exactly as the positive, shape [rows].
        k: Length of the list shown. Default 10.

    Returns:
        One value a row, float64 [rows]: 0 or 1, in between if a tie spans rank k.

    Raises:
        ConfigError: `k` is less than 1.
        DataError: A count is negative.

    Example:
        >>> recall_at([0, 9, 9, 10], [0, 0, 1, 0], k=10).tolist()
        [1.0, 1.0, 0.5, 0.0]
    """
    _require_positive(k)
    above, ties = _counts(above, ties)
    return np.clip(k - above, 0, ties + 1) / (ties + 1)


def ndcg_at(above: Any, ties: Any, k: int = 10) -> np.ndarray:
    """Normalised discounted cumulative gain of one positive a row.

        ndcg = 1 / log2(1 + rank) if rank <= k else 0

    Args:
        above: Candidates that score above the positive, shape [rows].
        ties: Candidates that score exactly as the positive, shape [rows].
        k: Length of the list shown. Default 10.

    Returns:
        One value a row, float64 [rows].

    Raises:
        ConfigError: `k` is less than 1.
        DataError: A count is negative.

    Example:
        >>> ndcg_at([0, 2, 10], [0, 0, 0], k=10).tolist()
        [1.0, 0.5, 0.0]
    """
    _require_positive(k)
    above, ties = _counts(above, ties)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gained = np.concatenate([[0.0], np.cumsum(discounts)])
    first, last = np.minimum(above, k), np.minimum(above + ties + 1, k)
    # A rank alone reads its discount: a difference of sums would be off by rounding.
    alone = np.concatenate([discounts, [0.0]])[first]
    return np.where(ties == 0, alone, (gained[last] - gained[first]) / (ties + 1))


def _counts(above: Any, ties: Any) -> tuple[np.ndarray, np.ndarray]:
    above, ties = np.asarray(above), np.asarray(ties)
    if above.shape != ties.shape or np.any(above < 0) or np.any(ties < 0):
        raise DataError(
            "`above` and `ties` must have the same shape and no negative count. "
            f"Received: shapes {list(above.shape)} and {list(ties.shape)}, least "
            f"counts {np.min(above, initial=0)} and {np.min(ties, initial=0)}"
        )
    return above, ties


def _require_positive(k: int) -> None:
    if k < 1:
        raise ConfigError(f"`k` must be at least 1. Received: k={k}")
