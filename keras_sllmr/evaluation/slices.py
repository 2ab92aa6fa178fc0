"""Slices of the test rows: all, cold-start users, long-tail items and a user's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import numpy as np

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.popularity import tail_items

#: What becomes of a slice without rows: an error, or figures that are None.
Empty: TypeAlias = Literal["error", "none"]


class Slices(Mapping[str, np.ndarray]):
    """Named boolean masks over the test rows.

    - `all`: every test row.
    - `cold`: rows of users with at most `cold_max_train` *training* interactions. With
      5-core data and leave-one-out every test row has a history of at least 4, so a
      threshold on the history of the test row would select nobody.
    - `tail`: rows whose positive is a long-tail item, see `tail_items`.

    Args:
        users: User index of each test row, shape [rows].
        positives: Item index of each test row's positive, shape [rows].
        user_train_counts: Training interactions by user index, shape [users + 1]; row
            0 is padding.
        item_train_counts: Training interactions by item index, shape [items + 1]; row
            0 is padding.
        cold_max_train: Most training interactions of a cold user. Default 3.
        tail_share: Share of the catalogue that is the long tail. Default 0.2.
        further: More masks by name, bool [rows] each, see `slicing`. Default: none.
        empty: "error", or "none" to keep a slice without rows: its metrics are None.
            Default "error".

    Raises:
        ConfigError: `cold_max_train` or `tail_share` is out of range, or a name comes
            twice.
        DataError: A slice is empty and must not be, or an index is not in its table.

    Example:
        >>> slices = Slices(
        ...     users=[1, 2], positives=[1, 5], user_train_counts=[0, 3, 9],
        ...     item_train_counts=[0, 7, 5, 4, 3, 1],
        ... )
        >>> {name: mask.tolist() for name, mask in slices.items()}
        {'all': [True, True], 'cold': [True, False], 'tail': [False, True]}
    """

    def __init__(
        self,
        *,
        users: Any,
        positives: Any,
        user_train_counts: Any,
        item_train_counts: Any,
        cold_max_train: int = 3,
        tail_share: float = 0.2,
        further: Mapping[str, np.ndarray] | None = None,
        empty: Empty = "error",
    ) -> None:
        if cold_max_train < 0:
            raise ConfigError(
                f"`cold_max_train` must not be negative. Received: {cold_max_train}"
            )
        user_counts = np.asarray(user_train_counts)
        self.tail_items = tail_items(item_train_counts, share=tail_share)
        users = _indices(users, len(user_counts), "users")
        positives = _indices(positives, len(self.tail_items), "positives")
        if len(users) != len(positives):
            raise DataError(
                "`users` and `positives` must have one entry a test row. Received: "
                f"{len(users)} and {len(positives)}"
            )
        self.rules = {
            "all": "all test rows",
            "cold": f"users with at most {cold_max_train} training interactions",
            "tail": f"positives among the {self.tail_items.sum()} items (the bottom "
            f"{tail_share:g} of the catalogue) with the fewest training interactions",
        }
        self._masks = {
            "all": np.ones(len(users), bool),
            "cold": user_counts[users] <= cold_max_train,
            "tail": self.tail_items[positives],
        }
        for name, mask in (further or {}).items():
            if name in {*self._masks, "tail_rows"}:
                raise ConfigError(
                    f"Slices need different names. Received: {name!r} twice"
                )
            self._masks[name] = mask
            self.rules[name] = name
        if empty == "error":
            for name, mask in self._masks.items():
                _require_rows(mask, name, self.rules[name])

    def __getitem__(self, name: str) -> np.ndarray:
        """The mask of a slice, bool [rows]."""
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the slices."""
        return iter(self._masks)

    def __len__(self) -> int:
        """The number of slices."""
        return len(self._masks)


def tail_rows(items: Any, tail: Any, *, empty: Empty = "error") -> np.ndarray:
    """Which sampled rows, positive or negative, are of a long-tail item.

    A pool for `auc_sampled` only: how well long-tail items are told apart among
    themselves.

    Args:
        items: Item index of each sampled row, shape [rows].
        tail: What `tail_items` gives, shape [items + 1].
        empty: "error", or "none" to allow that no row is. Default "error".

    Returns:
        Boolean, shape [rows].

    Raises:
        DataError: No row is of a long-tail item and `empty` is "error", or an index
            is not in the table.

    Example:
        >>> tail_rows([1, 3, 2], tail_items([0, 9, 8, 0], share=0.4)).tolist()
        [False, True, False]
    """
    tail = np.asarray(tail)
    mask = tail[_indices(items, len(tail), "items")]
    if empty == "error":
        rule = f"rows of one of the {tail.sum()} long-tail items"
        _require_rows(mask, "tail_rows", rule)
    return mask


def _require_rows(mask: np.ndarray, name: str, rule: str) -> None:
    if not mask.any():
        raise DataError(
            f"The slice {name!r} must not be empty; change its threshold (such as "
            "cold_max_train or tail_share), or allow it with empty: none. Received: "
            f"none of {len(mask)} rows obeys its rule ({rule})"
        )


def _indices(values: Any, table_rows: int, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1 or not np.issubdtype(values.dtype, np.integer):
        raise DataError(
            f"`{name}` must be integers of shape [rows]. Received: {values.dtype} of "
            f"shape {list(values.shape)}"
        )
    if np.any(values < 1) or np.any(values >= table_rows):
        raise DataError(
            f"`{name}` must be indices from 1 to {table_rows - 1}. Received: indices "
            f"from {values.min()} to {values.max()}"
        )
    return values
