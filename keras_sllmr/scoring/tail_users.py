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


class TailDeal:
    """Deals users out to tail items, by chance alone.

    The users are shuffled and dealt to the items in turn, so that the items get
    equally many users and the users about equally many items. Each item is dealt some
    to spare, as there are users who have interacted with it.

    Args:
        n_users: int.
        items: int `[tail]`. The tail items.
        counts: int `[n_items + 1]`. Training events of each item.
        seed: int. Of the order.
    """

    def __init__(
        self, n_users: int, items: np.ndarray, counts: np.ndarray, *, seed: int
    ) -> None:
        self.n_users, self.items, self.counts, self.seed = n_users, items, counts, seed

    def each(self, mean: float) -> int:
        """Users of an item for `mean` items a user: max(1, round(mean · users / items))."""
        return max(1, round(mean * self.n_users / len(self.items)))

    def order(self, key: int) -> np.ndarray:
        """int64 `[n_users]`. The shuffled users; `key` keeps draws apart."""
        return 1 + permutation(self.n_users, self.seed, key)

    def starts(self, many: int) -> range:
        """Where the blocks of items begin when each keeps `many` users."""
        return range(0, len(self.items), max(1, _PAIRS // many))

    def block(
        self, order: np.ndarray, start: int, many: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """A block of items, and the users dealt to each, those to spare last.

        Args:
            order: of the users.
            start: one of `starts(many)`.
            many: int. Users that an item keeps.

        Returns:
            int64 `[rows]` and `[rows, many + spare]`.
        """
        items = self.items[start : start + self.starts(many).step]
        # Enough to pass over all who have interacted with the item.
        spare = int(self.counts[items].max())
        width = min(len(order), many + spare)
        first = (start + np.arange(len(items))) * many
        return items, order[(first[:, None] + np.arange(width)) % len(order)]


def first_free(users: np.ndarray, free: np.ndarray, many: int) -> np.ndarray:
    """The first `many` users of each row who are free, padded with 0.

    Args:
        users: int `[rows, width]`.
        free: bool `[rows, width]`.
        many: int.

    Example:
        >>> first_free(np.array([[4, 5, 6]]), np.array([[False, True, True]]), 1)
        array([[5]])
    """
    number = free.cumsum(axis=1)
    row, column = np.nonzero(free & (number <= many))
    dealt = np.zeros((len(users), many), np.int64)
    dealt[row, number[row, column] - 1] = users[row, column]
    return dealt


def best(users: np.ndarray, scores: np.ndarray, each: int) -> np.ndarray:
    """The `each` users of every row with the highest scores, those with one.

    Args:
        users: int `[rows, many]`.
        scores: float `[rows, many]`. −inf for none.
        each: int.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :each]
    answered = np.take_along_axis(scores, order, axis=1) > -np.inf
    return np.where(answered, np.take_along_axis(users, order, axis=1), 0)


def by_user(
    users: np.ndarray,
    items: np.ndarray,
    *,
    n_users: int,
    most: int,
    seed: int,
    first: int = 0,
) -> Ragged:
    """Items of each user, `most` at most; which of them, is drawn.

    Args:
        users: int `[pairs]`.
        items: int `[pairs]`.
        n_users: int. Rows of the result, less the first.
        most: int.
        seed: int. Of the draw.
        first: int. What makes a user the store's; see `FeatureStore.first`.
    """
    order = np.lexsort((mix(seed, users + first, items), users))
    users, items = users[order], items[order]
    place = np.arange(len(users)) - np.searchsorted(users, users)
    kept = place < most
    counts = np.bincount(users[kept], minlength=n_users + 1)
    return Ragged(items[kept], np.concatenate([[0], np.cumsum(counts)]))


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
        self.split, self.seen = split, seen
        self.most, self.history, self.seed = most, history, seed
        self.deal = TailDeal(split.store.n_users, items, split.train_counts, seed=seed)

    def random(self, mean: float, key: int) -> Ragged:
        """Tail items of each user, their users drawn at random.

        Args:
            mean: float > 0. Items a user on average; each item gets
                max(1, round(mean · users / items)) users.
            key: int. Keeps draws apart.

        Returns:
            Item indices, `n_users + 1` rows.
        """
        each = self.deal.each(mean)
        return self._by_user(list(self._dealt(each, key)))

    def plausible(self, mean: float, pool: int, screen: Teacher, key: int) -> Ragged:
        """Tail items of each user, their users the screen's best of a random pool.

        Args:
            mean: as for `random`.
            pool: int. Users screened for an item; at least thrice as many as it keeps.
            screen: a cheap teacher.
            key: int. Keeps draws apart.
        """
        each = self.deal.each(mean)
        return self._by_user(
            [
                (items, best(users, self._scores(items, users, screen), each))
                for items, users in self._dealt(max(pool, 3 * each), key)
            ]
        )

    def _dealt(self, many: int, key: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Blocks of items with `many` users each, padded with 0."""
        order = self.deal.order(key)
        for start in self.deal.starts(many):
            items, users = self.deal.block(order, start, many)
            free = ~self.seen(users, items[:, None])
            yield items, first_free(users, free, many)

    def _scores(
        self, items: np.ndarray, users: np.ndarray, screen: Teacher
    ) -> np.ndarray:
        row, column = np.nonzero(users)
        scores = np.full(users.shape, -np.inf)
        scores[row, column] = plausibility(
            self.split, users[row, column], items[row], screen, history=self.history
        )
        return scores

    def _by_user(self, blocks: list[tuple[np.ndarray, np.ndarray]]) -> Ragged:
        return by_user(
            np.concatenate([asked[asked > 0] for _, asked in blocks]),
            np.concatenate([items[np.nonzero(asked)[0]] for items, asked in blocks]),
            n_users=self.split.store.n_users,
            most=self.most,
            seed=self.seed,
        )


def plausibility(
    split: LeaveOneOut,
    users: np.ndarray,
    items: np.ndarray,
    screen: Teacher,
    *,
    history: int,
) -> np.ndarray:
    """How well items fit users, float `[pairs]`; −inf where the screen cannot tell.

    Args:
        split: of the users' store.
        users: int `[pairs]`.
        items: int `[pairs]`.
        screen: a cheap teacher.
        history: int. Events that it sees of a user.
    """
    shown = history_before(
        split.store.events, users, split.train_lengths[users], length=history
    )
    answers = screen.score(shown, items[:, None])[:, 0]
    return np.nan_to_num(answers.astype(np.float64), nan=-np.inf)
