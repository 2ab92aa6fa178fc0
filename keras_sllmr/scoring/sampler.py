"""Draws the candidates of users from their origins, chunk by chunk."""

from collections.abc import Callable, Sequence

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.assignments import Assignments, most_popular
from keras_sllmr.scoring.candidates import Candidates, CandidateSettings
from keras_sllmr.scoring.diverse import attribute_vectors, farthest_first
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.store.draws import integers, negatives
from keras_sllmr.store.history import history_before
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.score_table import NEGATIVE, POSITIVE, UNKNOWN
from keras_sllmr.store.split import LeaveOneOut

# Keys that keep the draws of the origins apart.
_POPULAR, _UNIFORM, _COLD, _NEAR, _PROBE = 101, 102, 103, 105, 106
# Users drawn at a time, which bounds the memory; does not change the result.
_ROWS = 512


class CandidateSampler:
    """Draws the candidates of any users, and their reliability probes.

    Only training events are used: a validation or test positive may turn up among the
    candidates as any other item does, and nobody is asked about an item of his own
    training events, the hidden positives of the probes aside. A user's rows depend on
    the seed and on him alone, not on who is drawn with him, so that a job of any size
    may go through the users chunk by chunk.

    Args:
        split: the store's split.
        settings: how many of each origin.
        screen: a cheap teacher that picks the `near` and `tail_near` candidates;
            needed if there are any.
        vectors: float32 `[n_items + 1, d]`. Unit vectors of the items, a zero row for
            unknown, that tell which items are unlike for cold users. Defaults to
            vectors of the items' attributes; without those `cold` items are random.
        assignments: what is decided over all users. Defaults to those of the split.

    Raises:
        ConfigError: when `near` or `tail_near` candidates are asked for without a
            `screen`, or the vectors are not the store's.

    Example:
        >>> sampler = CandidateSampler(split, settings)             # doctest: +SKIP
        >>> for users in np.array_split(np.arange(1, n + 1), 100):  # doctest: +SKIP
        ...     candidates, probes = sampler.draw(users)
    """

    def __init__(
        self,
        split: LeaveOneOut,
        settings: CandidateSettings,
        *,
        screen: Teacher | None = None,
        vectors: np.ndarray | None = None,
        assignments: Assignments | None = None,
    ) -> None:
        if screen is None and (settings.near or settings.tail_near):
            raise ConfigError(
                "`near` and `tail_near` candidates need a `screen`, a teacher that "
                "picks them; set both to 0 to do without. Received: "
                f"near={settings.near}, tail_near={settings.tail_near}, screen=None"
            )
        self.split, self.settings, self.screen = split, settings, screen
        store = split.store
        if vectors is None:
            vectors = attribute_vectors(store.attributes, store.n_attributes)
        if vectors.ndim != 2 or len(vectors) != store.n_items + 1:
            raise ConfigError(
                "`vectors` must hold one row an item and the empty row 0. Received: "
                f"shape {list(vectors.shape)} for {store.n_items} items"
            )
        self._vectors = vectors
        self._seen = split.train_seen
        if assignments is None:
            assignments = Assignments.of(split, settings, self._seen, screen)
        self._probe_order, self._tail = assignments.probed, assignments.tail
        self._popular = most_popular(assignments.counts)[: settings.popular_pool]
        self._probed = np.zeros(store.n_users + 1, bool)
        self._probed[self._probe_order] = True

    def draw(self, users: np.ndarray | Sequence[int]) -> list[Candidates]:
        """The candidates proper, and the probes when asked for.

        Every (user, item) comes once: a pair of both parts is the probes'.

        Args:
            users: int `[rows]`. Different users, in any order.

        Returns:
            Candidates of every user, in that order; then the probes of those who have
            one. Memory grows with the rows.

        Raises:
            DataError: when a user to probe has seen (nearly) the whole catalogue.
        """
        parts = [self.candidates(users)]
        return [*parts, self.probes(users)] if self.settings.probe_negatives else parts

    def candidates(self, users: np.ndarray | Sequence[int]) -> Candidates:
        """The first part of `draw`."""
        return _in_blocks(self._distinct, users)

    def probes(self, users: np.ndarray | Sequence[int]) -> Candidates:
        """The second part of `draw`."""
        users = np.asarray(users, np.int64)
        return _in_blocks(self._probes, users[self._probed[users]])

    @property
    def probe_order(self) -> np.ndarray:
        """int64. The users who have a probe, in random order."""
        return self._probe_order

    def rows(self, users: np.ndarray) -> int:
        """How many rows `draw` gives these users, probes included."""
        return len(users) + int(self._probed[users].sum())

    def _distinct(self, users: np.ndarray) -> Candidates:
        candidates, probed = self._candidates(users), self._probed[users]
        probes = self._probes(users[probed])
        items = candidates.items[probed]
        both = (items[:, :, None] == probes.items[:, None]).any(axis=2)
        candidates.items[probed] = np.where(both, 0, items)
        return candidates

    def _candidates(self, users: np.ndarray) -> Candidates:
        settings, n_items = self.settings, self.split.store.n_items
        columns: dict[str, np.ndarray] = {}
        if settings.near and self.screen is not None:
            columns["near"] = self._nearest(users, self.screen)
        place = self._drawn(users, _POPULAR, len(self._popular), settings.popular)
        columns["popular"] = self._popular[place]
        for origin, assigned in self._tail.items():
            columns[origin] = _rows(assigned, users)
        columns["uniform"] = 1 + self._drawn(users, _UNIFORM, n_items, settings.uniform)
        columns["cold"] = self._diverse(users)
        items = np.concatenate(list(columns.values()), axis=1)
        return Candidates(
            users=users,
            positions=self.split.train_lengths[users],
            items=_without_repeats(self._unseen(users, items)),
            origins=np.repeat(
                np.array(list(columns), object),
                [block.shape[1] for block in columns.values()],
            ),
            labels=np.full(items.shape, UNKNOWN),
        )

    def _drawn(self, users: np.ndarray, key: int, high: int, many: int) -> np.ndarray:
        keys = self.split.keys(users)[:, None]
        return integers(high, self.settings.seed, key, keys, np.arange(many))

    def _unseen(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.where(self._seen(users[:, None], items), 0, items)

    def _pool(self, users: np.ndarray, key: int, many: int) -> np.ndarray:
        """Different unseen items of each user, in random order."""
        items = 1 + self._drawn(users, key, self.split.store.n_items, many)
        return _without_repeats(self._unseen(users, items))

    def _nearest(self, users: np.ndarray, screen: Teacher) -> np.ndarray:
        settings, split = self.settings, self.split
        pool = self._pool(users, _NEAR, settings.near_pool)
        shown = history_before(
            split.store.events,
            users,
            split.train_lengths[users],
            length=settings.history,
        )
        scores = np.nan_to_num(screen.score(shown, pool), nan=-np.inf)
        scores[pool == 0] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, : settings.near]
        answered = np.take_along_axis(scores, best, axis=1) > -np.inf
        nearest = np.zeros((len(users), settings.near), np.int64)
        nearest[:, : best.shape[1]] = np.where(
            answered, np.take_along_axis(pool, best, axis=1), 0
        )
        return nearest

    def _diverse(self, users: np.ndarray) -> np.ndarray:
        settings = self.settings
        cold = self.split.train_lengths[users] <= settings.cold_max
        diverse = np.zeros((len(users), settings.cold), np.int64)
        if settings.cold:
            pool = self._pool(users[cold], _COLD, settings.cold_pool)
            diverse[cold] = farthest_first(pool, self._vectors, settings.cold)
        return diverse

    def _probes(self, users: np.ndarray) -> Candidates:
        """The last training positive, hidden from the history, among negatives."""
        events, width = self.split.store.events, self.settings.probe_negatives
        positions = self.split.train_lengths[users] - 1
        positives = events.values[events.offsets[users] + positions]
        rows = np.repeat(users, width)
        number = np.tile(np.arange(width), len(users))
        keys = self.settings.seed, _PROBE, self.split.keys(rows), number
        drawn = negatives(rows, self._seen, *keys)
        items = np.column_stack([positives, drawn.reshape(len(users), width)])
        labels = np.full(items.shape, NEGATIVE)
        labels[:, 0] = POSITIVE
        return Candidates(
            users=users,
            positions=positions,
            items=_without_repeats(items),
            origins=np.full(width + 1, "probe", object),
            labels=labels,
        )


def _in_blocks(
    draw: Callable[[np.ndarray], Candidates], users: np.ndarray | Sequence[int]
) -> Candidates:
    """What `draw` gives, drawn for a few users at a time."""
    users = np.asarray(users, np.int64)
    blocks = [
        draw(users[start : start + _ROWS])
        for start in range(0, max(len(users), 1), _ROWS)
    ]
    return Candidates(
        users=np.concatenate([block.users for block in blocks]),
        positions=np.concatenate([block.positions for block in blocks]),
        items=np.concatenate([block.items for block in blocks]),
        origins=blocks[0].origins,
        labels=np.concatenate([block.labels for block in blocks]),
    )


def _rows(items: Ragged, users: np.ndarray) -> np.ndarray:
    """Rows of a ragged table, as wide as its longest, padded with 0."""
    column = np.arange(items.lengths.max())
    inside = column < items.lengths[users][:, None]
    place = np.where(inside, items.offsets[users][:, None] + column, 0)
    return np.where(inside, items.values[place], 0)


def _without_repeats(items: np.ndarray) -> np.ndarray:
    """Zeroes the later ones of equal items in a row."""
    order = np.argsort(items, axis=1, kind="stable")
    ranked = np.take_along_axis(items, order, axis=1)
    repeat = np.zeros(items.shape, bool)
    repeat[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    result = items.copy()
    np.put_along_axis(result, order, np.where(repeat, 0, ranked), axis=1)
    return result
