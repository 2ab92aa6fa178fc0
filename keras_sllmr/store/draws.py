"""Random draws that are pure functions of seed, epoch and row.

A draw depends on nothing but its keys, so that results are the same whatever the
order, the batch, the shard or the machine.
"""

import numpy as np

from keras_sllmr.errors import DataError

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(*keys: int | np.ndarray) -> np.ndarray:
    """64 well-mixed bits of the given keys (splitmix64's finaliser, chained).

    Args:
        *keys: ints or int arrays that broadcast against one another.

    Returns:
        uint64 array of the broadcast shape.

    Reference:
        Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
        OOPSLA 2014.
    """
    state = np.zeros((), np.uint64)
    with np.errstate(over="ignore"):
        for key in keys:
            key = np.asarray(key).astype(np.int64).view(np.uint64)
            state = (state ^ key) + _GOLDEN
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def integers(high: int, *keys: int | np.ndarray) -> np.ndarray:
    """Uniform integers in [0, high), int64, a pure function of `keys`."""
    # The bias of the modulo is below 2^-40 for catalogues below 2^24 items.
    return (mix(*keys) % np.uint64(high)).astype(np.int64)


def permutation(rows: int, *keys: int) -> np.ndarray:
    """A random order of `rows` rows, int64 `[rows]`, a pure function of `keys`."""
    return np.argsort(mix(*keys, np.arange(rows)), kind="stable")


class SeenItems:
    """Fast membership of (user, item) pairs.

    Args:
        users: int `[pairs]`.
        items: int `[pairs]`. Item indices, 1 to `n_items`.
        n_items: int. Catalogue size.
    """

    def __init__(self, users: np.ndarray, items: np.ndarray, n_items: int) -> None:
        self.n_items = n_items
        self._keys = np.unique(self._key(users, items))

    def _key(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.asarray(users, np.int64) * (self.n_items + 1) + items

    def __call__(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Whether each user has interacted with the item, boolean array."""
        keys = self._key(users, items)
        if not len(self._keys):
            return np.zeros(keys.shape, bool)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return self._keys[place] == keys


def negatives(
    users: np.ndarray, seen: SeenItems, *keys: int | np.ndarray, rounds: int = 256
) -> np.ndarray:
    """One uniformly drawn unseen item a row.

    Rejection sampling; each attempt is keyed by the row's own keys and the attempt's
    number.

    Args:
        users: int `[rows]`. User indices.
        seen: what the users have interacted with.
        *keys: what the draw depends on, e.g. seed, epoch, user, position.
        rounds: int. Attempts before giving up. Defaults to `256`.

    Returns:
        int64 `[rows]` item indices, 1 to `n_items`.

    Raises:
        DataError: when a user has seen (nearly) the whole catalogue.
    """
    users = np.asarray(users)
    broadcast = [np.broadcast_to(np.asarray(key), users.shape) for key in keys]
    result = np.zeros(users.shape, np.int64)
    open_rows = np.arange(len(users))
    for attempt in range(rounds):
        drawn = 1 + integers(
            seen.n_items, *(key[open_rows] for key in broadcast), attempt
        )
        fresh = ~seen(users[open_rows], drawn)
        result[open_rows[fresh]] = drawn[fresh]
        open_rows = open_rows[~fresh]
        if not len(open_rows):
            return result
    raise DataError(
        "A negative must be an item that the user never interacted with, and none was "
        f"found in {rounds} draws. Received: {len(open_rows)} rows of users who have "
        f"seen nearly all {seen.n_items} items. Drop these users or enlarge the "
        "catalogue."
    )
