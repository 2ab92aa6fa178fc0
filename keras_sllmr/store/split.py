"""Leave-one-out in time: which positions are trained on, validated on and tested on."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.store.draws import SeenItems
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.history import training_mask
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.user_slice import UserSlice


@dataclass(frozen=True)
class Targets:
    """Positives to predict: (user, position) names the event, `item` what it was.

    Args:
        users: int64 `[rows]`.
        positions: int64 `[rows]`. 0-based place of the target in the user's events.
        items: int64 `[rows]`.
    """

    users: np.ndarray
    positions: np.ndarray
    items: np.ndarray

    def __len__(self) -> int:
        return len(self.users)


class LeaveOneOut:
    r"""A user's last event tests, the one before validates, the others train.

    With n events a user: position n−1 is the test positive, n−2 the validation
    positive, positions 1 to n−3 are training positives. Position 0 is never a target,
    as it has no history.

    Args:
        store: the feature store.

    Raises:
        DataError: when some user has fewer than 3 events, or no training row is left.
    """

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.lengths = store.events.lengths
        short = int((self.lengths[1:] < 3).sum())
        if short:
            raise DataError(
                "Leave-one-out needs at least 3 events a user. Received: "
                f"{short} users with fewer. Import with a larger --min-events."
            )
        if not len(self.train) and not isinstance(store, UserSlice):
            raise DataError(
                "No user has the 4 events that a training row needs. Received: "
                f"{store.n_users} users with at most {self.lengths.max()} events."
            )

    def keys(self, users: Any) -> Any:
        """What draws of users depend on: their indices in the whole store."""
        return users + self.store.first

    @cached_property
    def train(self) -> Targets:
        """Training positives, ordered by user and position."""
        per_user = np.maximum(self.lengths - 3, 0)
        users = np.repeat(np.arange(len(self.lengths)), per_user)
        starts = np.cumsum(per_user) - per_user
        return self._targets(users, np.arange(len(users)) - starts[users] + 1)

    @cached_property
    def validation(self) -> Targets:
        """One validation positive a user."""
        return self._from_end(2)

    @cached_property
    def test(self) -> Targets:
        """One test positive a user."""
        return self._from_end(1)

    def _from_end(self, back: int) -> Targets:
        users = np.arange(1, len(self.lengths))
        return self._targets(users, self.lengths[users] - back)

    def _targets(self, users: np.ndarray, positions: np.ndarray) -> Targets:
        items = self.store.events.values[self.store.events.offsets[users] + positions]
        return Targets(users, positions, items)

    @cached_property
    def train_lengths(self) -> np.ndarray:
        """Training events of each user (all but the last two), int64 `[n_users + 1]`."""
        return np.maximum(self.lengths - 2, 0)

    @cached_property
    def train_events(self) -> Ragged:
        """The training events alone: what may be used to make features or prompts."""
        events = self.store.events
        offsets = np.concatenate([[0], np.cumsum(self.train_lengths)])
        return Ragged(events.values[training_mask(events)], offsets)

    @cached_property
    def train_counts(self) -> np.ndarray:
        """Training popularity of each item, int64 `[n_items + 1]`."""
        return np.bincount(self.train_events.values, minlength=self.store.n_items + 1)

    @cached_property
    def train_seen(self) -> SeenItems:
        """The training interactions alone."""
        events = self.train_events
        return SeenItems(events.row_of_value(), events.values, self.store.n_items)

    @cached_property
    def seen(self) -> SeenItems:
        """All interactions, for drawing negatives that are truly unseen."""
        events = self.store.events
        return SeenItems(events.row_of_value(), events.values, self.store.n_items)
