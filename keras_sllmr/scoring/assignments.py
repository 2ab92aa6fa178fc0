"""What is decided over all users: who is asked about tail items, who is probed."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.tail_users import TailUsers
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.store.draws import SeenItems, mix
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut

# Keys that keep the draws apart, also from those of single users.
TAIL, TAIL_NEAR, _PROBE_USERS = 104, 107, 111


@dataclass(frozen=True)
class Assignments:
    """Everything about a user's candidates that does not depend on him alone.

    Args:
        counts: int `[n_items + 1]`. Training events of each item.
        tail: tail items of each user by origin, `n_users + 1` rows each.
        probed: int64. The users who have a probe, in random order.
    """

    counts: np.ndarray
    tail: Mapping[str, Ragged]
    probed: np.ndarray

    @classmethod
    def of(
        cls,
        split: LeaveOneOut,
        settings: CandidateSettings,
        seen: SeenItems,
        screen: Teacher | None = None,
    ) -> "Assignments":
        """Those of a whole store.

        Args:
            split: the store's split.
            settings: how many of each origin.
            seen: the training interactions.
            screen: picks the users of the `tail_near` candidates.
        """
        counts = split.train_counts
        users = TailUsers(
            split,
            tail_of(counts, settings.tail_share),
            seen,
            most=settings.tail_most,
            history=settings.history,
            seed=settings.seed,
        )
        tail = {}
        if settings.tail_near and screen is not None:
            tail["tail_near"] = users.plausible(
                settings.tail_near, settings.tail_pool, screen, TAIL_NEAR
            )
        if settings.tail:
            tail["tail"] = users.random(settings.tail, TAIL)
        probed, _ = probe_order(split, settings)
        return cls(counts, tail, probed)


def most_popular(counts: np.ndarray) -> np.ndarray:
    """int64 `[n_items]`. The items, those with the most training events first."""
    return np.asarray(np.argsort(-counts[1:], kind="stable") + 1)


def tail_of(counts: np.ndarray, share: float) -> np.ndarray:
    """int64. The long tail; the least popular item if that is empty."""
    tail = np.flatnonzero(tail_items(counts, share=share))
    return tail if len(tail) else most_popular(counts)[-1:]


def probe_order(
    split: LeaveOneOut, settings: CandidateSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Users to probe, at random: who have an event to hide and one to show.

    Returns:
        Their indices, and what they are ordered by: those of several slices together
        are ordered by it again.
    """
    users = np.arange(1, split.store.n_users + 1)
    users = users[split.train_lengths[users] >= 2]
    if not settings.probe_negatives:
        users = users[:0]
    key = mix(settings.seed, _PROBE_USERS, split.keys(users) - 1)
    order = np.argsort(key, kind="stable")[: settings.probe_users]
    return users[order], key[order]
