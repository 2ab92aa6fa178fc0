"""The training rows that offline inputs are made for, and tables that follow them."""

import hashlib
from functools import cached_property

import numpy as np

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.store.draws import negatives
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.store_table import StoreTable

# Keeps these draws apart from those of training and of candidates.
_ROWS = 301


class TrainingRows:
    """Every training positive with a few unseen items, the same in every process.

    What a teacher or a retrieval says of a row is made once, so that its negatives
    must be known beforehand; training goes through the sets in turn.

    Args:
        split: the store's split.
        sets: int ≥ 1. Negatives a positive. Defaults to `4`.
        seed: int. Of the negatives.

    Raises:
        ConfigError: when `sets` is not positive.
        DataError: when a user has seen (nearly) the whole catalogue.

    Example:
        >>> rows = TrainingRows(split, sets=4)                 # doctest: +SKIP
        >>> rows.items[0], rows.users[0], rows.positions[0]    # doctest: +SKIP
        (array([2801,  411, 7012, 1180, 9903]), 1, 1)
    """

    def __init__(self, split: LeaveOneOut, *, sets: int = 4, seed: int = 0) -> None:
        if sets < 1:
            raise ConfigError(
                f"`sets` of negatives must be at least 1. Received: sets={sets}"
            )
        self.split, self.sets, self.seed = split, sets, seed

    @property
    def users(self) -> np.ndarray:
        """int64 `[N]`. Users of the training positives, ascending."""
        return self.split.train.users

    @property
    def positions(self) -> np.ndarray:
        """int64 `[N]`. Their positions, ascending for each user."""
        return self.split.train.positions

    @cached_property
    def items(self) -> np.ndarray:
        """int64 `[N, 1 + sets]`. The positive, then an unseen item of each set."""
        train, seen = self.split.train, self.split.seen
        users = self.split.keys(train.users)
        drawn = [
            negatives(train.users, seen, self.seed, _ROWS, k, users, train.positions)
            for k in range(self.sets)
        ]
        return np.stack([train.items, *drawn], axis=1).astype(np.int64)

    def __len__(self) -> int:
        return len(self.split.train)

    def describe(self) -> dict[str, int]:
        """What the rows depend on beside the store."""
        return {"sets": self.sets, "seed": self.seed}

    @property
    def fingerprint(self) -> str:
        """Hash of the items, in order."""
        return hashlib.sha256(self.items.astype("<i8").tobytes()).hexdigest()


class RowTable(StoreTable):
    """A table with a record a training row's positive, in their order."""

    @property
    def sets(self) -> int:
        """Sets of negatives."""
        return int(self.manifest["settings"]["rows"]["sets"])

    @property
    def seed(self) -> int:
        """Seed of the negatives."""
        return int(self.manifest["settings"]["rows"]["seed"])

    def rows(self, split: LeaveOneOut) -> TrainingRows:
        """The rows that the table was made for, drawn again.

        Args:
            split: of the table's store.

        Raises:
            StoreError: when they are not those rows.
        """
        rows = TrainingRows(split, sets=self.sets, seed=self.seed)
        if rows.fingerprint != self.manifest["parent"].get("rows"):
            raise StoreError(
                f"{self.path} was made for other training rows than those of "
                f"{split.store.path}. {self.remedy}"
            )
        return rows
