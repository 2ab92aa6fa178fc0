"""Items of the long tail and the users who are asked about them."""

from collections.abc import Iterator

import numpy as np

from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.store.draws import SeenItems, mix, permutation
from keras_sllmr.store.history import history_before
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut

# Pairs handled at a time, which bounds the memory; does not change the result.
_PAIRS = 2048


class TailUsers:
    """Pairs every tail item with users who have not interacted with it (paper 3.1).

    The users are shuffled and dealt out to the items, so that the items get equally
    many users and the users about equally many items. With a screen each item is
    dealt more users than it keeps, and keeps those for whom it is most plausible.

    Args:
        split: the store's split; only its training events are used.
        items: int `[tail]`. The tail items.
        seen: the training interactions.
        most: int. Items that one user is asked about at most; which of them, is drawn.
        history: int. Events that the screen sees of a user.
        seed: int. Seed of the draws.
    """

    def __init__(
        self,
        split: LeaveOneOut,
        items: np.ndarray,
        seen: SeenItems,
        *,
        most: int,
        history: int,
        seed: int,
    ) -> None:
        self.split, self.items, self.seen = split, items, seen
        self.most, self.history, self.seed = most, history, seed

    def random(self, mean: float, key: int) -> Ragged:
        """Tail items of each user, their users drawn at random.

        Args:
            mean: float > 0. Items a user on average; each item gets
                max(1, round(mean · users / items)) users.
            key: int. Keeps draws apart.

        Returns:
            Item indices, `n_users + 1` rows.
        """
        each = self._each(mean)
        return self._by_user(list(self._dealt(each, key)))

    def plausible(self, mean: float, pool: int, screen: Teacher, key: int) -> Ragged:
        """Tail items of each user, their users the screen's best of a random pool.

        Args:
            mean: as for `random`.
            pool: int. Users screened for an item; at least thrice as many as it keeps.
            screen: a cheap teacher.
            key: int. Keeps draws apart.
        """
        each = self._each(mean)
        return self._by_user(
            [
                (items, self._best(items, users, each, screen))
                for items, users in self._dealt(max(pool, 3 * each), key)
            ]
        )

    def _each(self, mean: float) -> int:
        return max(1, round(mean * self.split.store.n_users / len(self.items)))

    def _dealt(self, many: int, key: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of items with `many` users each, padded with 0."""
        order = 1 + permutation(self.split.store.n_users, self.seed, key)
        step = max(1, _PAIRS // many)
        for start in range(0, len(self.items), step):
            items = self.items[start : start + step]
            # Enough to pass over all who have interacted with the item.
            spare = int(self.split.train_counts[items].max())
            width = min(len(order), many + spare)
            first = (start + np.arange(len(items))) * many
            users = order[(first[:, None] + np.arange(width)) % len(order)]
            free = ~self.seen(users, items[:, None])
            number = free.cumsum(axis=1)
            row, column = np.nonzero(free & (number <= many))
            dealt = np.zeros((len(items), many), np.int64)
            dealt[row, number[row, column] - 1] = users[row, column]
            yield items, dealt

    def _best(
        self, items: np.ndarray, users: np.ndarray, each: int, screen: Teacher
    ) -> np.ndarray:
        """The `each` users of every item whom the screen finds it best for."""
        row, column = np.nonzero(users)
        asked = users[row, column]
        shown = history_before(
            self.split.store.events,
            asked,
            self.split.train_lengths[asked],
            length=self.history,
        )
        scores = np.full(users.shape, -np.inf)
        answers = screen.score(shown, items[row][:, None])[:, 0]
        scores[row, column] = np.nan_to_num(answers, nan=-np.inf)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :each]
        answered = np.take_along_axis(scores, best, axis=1) > -np.inf
        return np.where(answered, np.take_along_axis(users, best, axis=1), 0)

    def _by_user(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> Ragged:
        users = np.concatenate([asked[asked > 0] for _, asked in blocks])
        items = np.concatenate([items[np.nonzero(asked)[0]] for items, asked in blocks])
        order = np.lexsort((mix(self.seed, users, items), users))
        users, items = users[order], items[order]
        place = np.arange(len(users)) - np.searchsorted(users, users)
        kept = place < self.most
        counts = np.bincount(users[kept], minlength=self.split.store.n_users + 1)
        return Ragged(items[kept], np.concatenate([[0], np.cumsum(counts)]))
