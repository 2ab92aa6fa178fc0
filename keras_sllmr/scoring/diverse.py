"""Items unlike one another, for users of whom little is known."""

import numpy as np

from keras_sllmr.store.draws import mix
from keras_sllmr.store.ragged import Ragged

# Above any cosine: of two items the one that nothing is known about comes last.
_UNKNOWN = 2.0
_HASH = 108


def farthest_first(pool: np.ndarray, vectors: np.ndarray, many: int) -> np.ndarray:
    r"""Greedily picks the items that are least like those picked before.

    The first is the pool's first; each next one is
    \(\arg\min_i \max_{j \in \text{picked}} \cos(v_i, v_j)\), ties to the earlier in
    the pool. Items without a vector come last, in the pool's order (paper 3.1,
    "diverse sampled items").

    Args:
        pool: int `[rows, P]`. Items on offer, in random order; 0 is none.
        vectors: float32 `[n_items + 1, d]`. Unit vectors; a zero row is unknown.
        many: int. How many to pick a row.

    Returns:
        int64 `[rows, many]`, padded with 0 where the pool has fewer.

    Reference:
        Gonzalez, "Clustering to minimize the maximum intercluster distance",
        Theoretical Computer Science 38, 1985.

    Example:
        >>> vectors = np.array([[0, 0], [1, 0], [1, 0], [0, 1], [0, 0]], np.float32)
        >>> farthest_first(np.array([[4, 1, 2, 3]]), vectors, 3).tolist()
        [[1, 3, 2]]
    """
    rows = np.arange(len(pool))
    offered = vectors[pool]
    nearest = np.where(offered.any(axis=2), -1.0, _UNKNOWN)
    nearest[pool == 0] = np.inf
    picked = np.zeros((len(pool), many), np.int64)
    for place in range(min(many, pool.shape[1])):
        best = nearest.argmin(axis=1)
        picked[:, place] = np.where(np.isinf(nearest[rows, best]), 0, pool[rows, best])
        cosine = (offered @ offered[rows, best][:, :, None])[:, :, 0]
        nearest = np.maximum(nearest, cosine)
        nearest[rows, best] = np.inf
    return picked


def attribute_vectors(
    attributes: Ragged, n_attributes: int, *, size: int = 64
) -> np.ndarray:
    r"""Unit vectors of items from hashed attributes, the rarer the weightier.

    \(v_i \propto \sum_{a \in A_i} \log(1 + n / n_a)\, \sigma_a e_{h(a)}\) with a hash
    h to `size` columns and a sign σ; their cosines are on average those of the
    weighted attributes themselves.

    Args:
        attributes: attribute indices of each item, as `store.attributes`.
        n_attributes: int. Number of different attributes.
        size: int. Length of a vector. Defaults to `64`.

    Returns:
        float32 `[n_items + 1, size]`; zero rows for items without attributes.

    Reference:
        Weinberger et al., "Feature hashing for large scale multitask learning",
        ICML 2009.

    Example:
        >>> vectors = attribute_vectors(Ragged.from_rows([[], [1], [1], []]), 1)
        >>> (vectors @ vectors[1]).tolist()
        [0.0, 1.0, 1.0, 0.0]
    """
    items, values = attributes.row_of_value(), attributes.values
    counts = np.bincount(values, minlength=n_attributes + 1)
    weight = np.log1p((len(attributes) - 1) / counts[values])
    bits = mix(_HASH, values)
    signed = np.where(bits >> np.uint64(63), weight, -weight)
    vectors = np.zeros((len(attributes), size), np.float32)
    np.add.at(vectors, (items, bits % np.uint64(size)), signed)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(norm > 0, norm, 1)
