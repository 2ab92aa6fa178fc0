"""The rank of each test positive among all items its user never interacted with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from keras_sllmr.errors import ConfigError, DataError

_ROWS_AT_ONCE = 1024
_SCORES_AT_ONCE = 100_000_000  # 400 MB of float32
_COUNTED_AT_ONCE = 4_000_000


class Scorer(Protocol):
    """What `full_ranking` needs of a scorer; `GridScorer` is one."""

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""

    def score(self, features: Mapping[str, Any]) -> np.ndarray:
        """Scores [users, items]; column j belongs to item index j + 1."""


@dataclass(frozen=True)
class FullRanking:
    """Counts of a full ranking, one entry a test row.

    Args:
        above: Candidates that score above the positive, int64 [rows].
        ties: Candidates that score exactly as the positive, int64 [rows].
        candidates: Candidates in all, the positive not counted, int64 [rows].
    """

    above: np.ndarray
    ties: np.ndarray
    candidates: np.ndarray


def full_ranking(
    scorer: Scorer,
    user_features: Mapping[str, Any] | Callable[[np.ndarray], Mapping[str, Any]],
    positives: Any,
    seen: tuple[Any, Any],
    *,
    rows_at_once: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FullRanking:
    """Counts, for every test row, the candidates that score above its positive.

    Candidates are all items of the catalogue except the positive and those in the
    row's `seen`. The positive's score is read off the same grid as theirs: scored by
    itself it would differ in the last digits, and ranks with it.

    Args:
        scorer: Scores users with all items, such as a `GridScorer` with items set.
        user_features: Feature arrays with one row a test row, or a function that
            gives them for an array of row numbers.
        positives: Item index of each row's positive, 1 to items, shape [rows].
        seen: Items that each row's user ever interacted with, as (values, offsets):
            row r has `values[offsets[r]:offsets[r + 1]]`. Repeats, the positive
            itself and the padding index 0 do no harm.
        rows_at_once: Rows scored before counting, which bounds the memory. Default:
            the scorer's `user_chunk` if it has one, otherwise 1024, but no more than
            make 400 MB of scores.
        progress: Called as `progress(rows done, rows in all)`.

    Raises:
        ConfigError: `rows_at_once` is less than 1.
        DataError: An index is not in the catalogue, `seen` does not fit the rows, a
            user has seen every item, or a score is not finite.

    Example:
        >>> class Popularity:
        ...     n_items = 4
        ...     def score(self, features):
        ...         return np.tile([3.0, 2.0, 2.0, 1.0], (len(features["user"]), 1))
        >>> full_ranking(
        ...     Popularity(), {"user": np.array([1, 2])}, [2, 4],
        ...     seen=(np.array([1, 2, 3, 4]), np.array([0, 2, 4])),
        ... )
        FullRanking(above=array([0, 2]), ties=array([1, 0]), candidates=array([2, 2]))
    """
    n_items = scorer.n_items
    positives = _item_indices(positives, 1, n_items, "positives")
    rows = len(positives)
    values, offsets = _ragged(seen, rows, n_items)
    if rows_at_once is None:
        rows_at_once = min(
            getattr(scorer, "user_chunk", _ROWS_AT_ONCE),
            max(1, _SCORES_AT_ONCE // max(n_items, 1)),
        )
    if rows_at_once < 1:
        raise ConfigError(
            f"`rows_at_once` must be at least 1. Received: {rows_at_once}"
        )
    counts = np.zeros((3, rows), np.int64)
    for start in range(0, rows, rows_at_once):
        chunk = np.arange(start, min(start + rows_at_once, rows))
        features = (
            user_features(chunk)
            if callable(user_features)
            else {name: np.asarray(x)[chunk] for name, x in user_features.items()}
        )
        scores = scorer.score(features)
        if scores.shape != (len(chunk), n_items) or not np.isfinite(scores).all():
            raise DataError(
                f"Scores must be finite and of shape [{len(chunk)}, {n_items}]. "
                f"Received: shape {list(scores.shape)}, "
                f"{np.count_nonzero(~np.isfinite(scores))} not finite; a model that "
                "gives NaN has usually diverged"
            )
        step = max(1, _COUNTED_AT_ONCE // n_items)
        for first in range(0, len(chunk), step):
            some = chunk[first : first + step]
            counts[:, some] = _count(
                scores[first : first + step],
                positives[some] - 1,
                values[offsets[some[0]] : offsets[some[-1] + 1]],
                np.diff(offsets[some[0] : some[-1] + 2]),
            )
        if progress is not None:
            progress(int(chunk[-1]) + 1, rows)
    if np.any(counts[2] == 0):
        raise DataError(
            "Each user needs at least one item never interacted with. Received: none "
            f"for {np.count_nonzero(counts[2] == 0)} of {rows} rows"
        )
    return FullRanking(*counts)


def _count(
    scores: np.ndarray, columns: np.ndarray, seen: np.ndarray, lengths: np.ndarray
) -> np.ndarray:
    """Counts above, ties and candidates of each row, [3, rows].

    Args:
        scores: of the rows, [rows, items].
        columns: of the rows' positives.
        seen: item indices that the rows' users have seen, row after row.
        lengths: number of them, [rows].
    """
    rows = np.arange(len(scores))
    allowed = np.ones(scores.shape, bool)
    allowed[np.repeat(rows, lengths)[seen > 0], seen[seen > 0] - 1] = False
    allowed[rows, columns] = False
    own = scores[rows, columns][:, np.newaxis]
    masks = ((scores > own) & allowed, (scores == own) & allowed, allowed)
    return np.stack([np.count_nonzero(mask, axis=1) for mask in masks])


def _item_indices(values: Any, least: int, n_items: int, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or (
        len(values) and not np.issubdtype(values.dtype, np.integer)
    ):
        raise DataError(
            f"{name} must be integers in one dimension. Received: {values.dtype} of "
            f"shape {list(values.shape)}"
        )
    if np.any(values < least) or np.any(values > n_items):
        raise DataError(
            f"{name} must be item indices from {least} to {n_items}. Received: "
            f"indices from {values.min()} to {values.max()}"
        )
    return values.astype(np.int64)


def _ragged(
    seen: tuple[Any, Any], rows: int, n_items: int
) -> tuple[np.ndarray, np.ndarray]:
    values = _item_indices(seen[0], 0, n_items, "values of seen")
    offsets = np.asarray(seen[1])
    if (
        offsets.shape != (rows + 1,)
        or offsets[0] != 0
        or offsets[-1] != len(values)
        or np.any(np.diff(offsets) < 0)
    ):
        raise DataError(
            f"The offsets of `seen` must be {rows + 1} numbers that rise from 0 to the "
            f"number of values, {len(values)}. Received: shape {list(offsets.shape)}, "
            f"{offsets.ravel()[:3].tolist()} ... {offsets.ravel()[-3:].tolist()}"
        )
    return values, offsets
