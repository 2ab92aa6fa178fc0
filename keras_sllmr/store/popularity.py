"""Long-tail items by training popularity."""

from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError, DataError


def tail_items(train_counts: Any, *, share: float = 0.2) -> np.ndarray:
    """Which items are in the long tail: the bottom `share` of the catalogue by rank.

    Items are ranked by training interactions, those with equally many by index, so
    the tail has exactly floor(share * items) items.

    Args:
        train_counts: Training interactions by item index, shape [items + 1]; row 0 is
            padding.
        share: Share of the catalogue, between 0 and 1. Default 0.2.

    Returns:
        Boolean, shape [items + 1]; row 0 is False.

    Raises:
        ConfigError: `share` is not between 0 and 1.
        DataError: `train_counts` has another shape or a negative count.

    Example:
        >>> tail_items([0, 3, 1, 1, 2, 1], share=0.4).tolist()
        [False, False, True, True, False, False]
    """
    if not 0 < share < 1:
        raise ConfigError(f"`share` must be between 0 and 1. Received: {share}")
    counts = np.asarray(train_counts)
    if counts.ndim != 1 or len(counts) < 2 or np.any(counts < 0):
        raise DataError(
            "`train_counts` must have shape [items + 1], at least one item and no "
            f"negative count. Received: shape {list(counts.shape)}"
        )
    # 0.29 * 100 is 28.999999999999996 in floating point, and means 29.
    number = int(np.floor(share * (len(counts) - 1) + 1e-9))
    tail = np.zeros(len(counts), bool)
    tail[1 + np.argsort(counts[1:], kind="stable")[:number]] = True
    return tail
