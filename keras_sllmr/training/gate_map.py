"""Where the gate opened: α by the user's history and the items' popularity."""

from typing import Any

import numpy as np

from keras_sllmr.training.batch import GUIDANCE
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.guidance import GuidanceBlocks


def gate_map(
    model: Any,
    data: TrainingData,
    *,
    users: int = 256,
    bins: int = 5,
    users_at_once: int = 32,
) -> dict[str, Any]:
    """The mean α of the pairs that the LLM orders, by history and popularity.

    Args:
        model: a `SelectiveModel`, or whatever has its `pair_weights`.
        data: the training data, with a score table.
        users: int. About as many users are looked at, evenly spread. Defaults to
            `256`.
        bins: int. At most this many rows and columns. Defaults to `5`.
        users_at_once: int. Users weighed at a time. Defaults to `32`.

    Returns:
        As of `alpha_map`; a row is the training events of the user, a column the
        training events of the rarer item of the pair.
    """
    guidance, _ = data.blocks[GUIDANCE]
    rows = spread(guidance, users)
    lengths, counts = data.split.train_lengths, data.split.train_counts
    found = []
    for start in range(0, len(rows), users_at_once):
        chosen = rows[start : start + users_at_once]
        weights = model.pair_weights(data.block_features(guidance, chosen))
        alpha, gaps = map(np.asarray, weights)
        user, first, second = np.nonzero(gaps > 0)
        popularity = counts[guidance.items[chosen]]
        rarer = np.minimum(popularity[user, first], popularity[user, second])
        history = lengths[guidance.users[chosen]][user]
        found.append((alpha[user, first, second], history, rarer))
    alphas, histories, popularities = map(np.concatenate, zip(*found, strict=True))
    return alpha_map(alphas, histories, popularities, bins=bins)


def spread(block: GuidanceBlocks, users: int) -> np.ndarray:
    """Rows of a block, evenly spread over it, about as many as users are asked for."""
    return np.arange(0, len(block), max(1, len(block) // users))


def alpha_map(
    alpha: Any, history: Any, popularity: Any, *, bins: int = 5
) -> dict[str, Any]:
    r"""The mean of α in cells of two counts, cut at their quantiles.

    Args:
        alpha: float `[n]`. α of each pair.
        history: int `[n]`. Training events of the pair's user.
        popularity: int `[n]`. Training events of the pair's rarer item.
        bins: int. At most this many a side; fewer where a count occurs so often that
            it takes the place of several. Defaults to `5`.

    Returns:
        `history_edges` and `popularity_edges`, ints: bin b holds the counts n with
        \(e_b \le n < e_{b + 1}\); `alpha`, the means by `[history][popularity]`,
        `None` in a cell without a pair; `pairs`, their numbers.

    Example:
        >>> found = alpha_map([0.8, 0.6, 0.1, 0.1], [3, 3, 9, 9], [1, 1, 5, 5], bins=2)
        >>> found["history_edges"], found["popularity_edges"]
        ([3, 9, 10], [1, 5, 6])
        >>> found["alpha"], found["pairs"]
        ([[0.7, None], [None, 0.1]], [[2, 0], [0, 2]])
    """
    row_edges, rows = _binned(np.asarray(history), bins)
    column_edges, columns = _binned(np.asarray(popularity), bins)
    shape = (max(0, len(row_edges) - 1), max(0, len(column_edges) - 1))
    pairs, total = np.zeros(shape, np.int64), np.zeros(shape)
    np.add.at(pairs, (rows, columns), 1)
    np.add.at(total, (rows, columns), np.asarray(alpha, np.float64))
    mean = (total / np.maximum(pairs, 1)).astype(object)
    mean[(pairs == 0) | ~np.isfinite(total)] = None
    return {
        "history_edges": row_edges.tolist(),
        "popularity_edges": column_edges.tolist(),
        "alpha": mean.tolist(),
        "pairs": pairs.tolist(),
    }


def _binned(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges at the quantiles that occur, and the bin of each value."""
    if not len(values):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Quantiles that are values themselves: the edges stay whole numbers.
    starts = np.quantile(values, np.arange(bins) / bins, method="higher")
    edges = np.append(np.unique(starts), values.max() + 1).astype(np.int64)
    return edges, np.searchsorted(edges, values, side="right") - 1
