"""LLM scores of pairs in memory, and the left join to them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True, eq=False)
class ScoredPairs:
    """Scores ordered by user and item, each pair once.

    Args:
        users: int64 `[pairs]`. User indices, ascending.
        items: int64 `[pairs]`. Item indices, ascending for each user.
        scores: float32 `[pairs]` in [0, 1].
        positions: int64 `[pairs]`. The history that was shown ends before this one.
        labels: int64 `[pairs]`. 1 hidden positive, 0 its negative, −1 unknown.
        n_items: int. Size of the catalogue.

    Example:
        >>> one = np.ones(1, np.int64)
        >>> pairs = ScoredPairs(one, 2 * one, 0.5 * one, one, -one, n_items=3)
        >>> pairs.lookup([1, 1], [2, 3])
        (array([0.5, 0. ], dtype=float32), array([ True, False]))
    """

    users: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    positions: np.ndarray
    labels: np.ndarray
    n_items: int

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def _keys(self) -> np.ndarray:
        return _key(self.users, self.items, self.n_items)

    def lookup(
        self, users: np.ndarray, items: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Left join of pairs to the scores.

        Args:
            users: int, any shape. User indices.
            items: int, the same shape. Item indices.

        Returns:
            Scores (float32, 0 where missing) and a boolean mask of those found.
        """
        users, items = np.asarray(users), np.asarray(items)
        keys = _key(users, items, self.n_items)
        if not len(self):
            return np.zeros(keys.shape, np.float32), np.zeros(keys.shape, bool)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self) - 1)
        # An item beyond the catalogue would share its key with another user's item.
        inside = (items >= 0) & (items <= self.n_items)
        found = (self._keys[place] == keys) & inside
        return np.where(found, self.scores[place], 0).astype(np.float32), found

    @property
    def repeated(self) -> int:
        """Pairs that are there already: 0, unless a table was put together wrongly."""
        return int((np.diff(self._keys) == 0).sum())


def pair_order(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    """The order by user and item, equal pairs as they came."""
    return np.argsort(_key(users, items, n_items), kind="stable")


def _key(users: np.ndarray, items: np.ndarray, n_items: int) -> np.ndarray:
    return np.asarray(users, np.int64) * (n_items + 1) + items
