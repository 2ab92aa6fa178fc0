"""Which (user, item) pairs the LLM is asked about, and why."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.settings import Settings
from keras_sllmr.store.draws import SeenItems, integers, negatives
from keras_sllmr.store.history import history_before
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.score_table import NEGATIVE, POSITIVE, UNKNOWN
from keras_sllmr.store.split import LeaveOneOut

# Keys that keep the draws of the origins apart.
_POPULAR, _UNIFORM, _COLD, _TAIL, _NEAR, _PROBE = range(101, 107)


class CandidateSettings(Settings):
    """How many candidates of each origin a user gets (paper 3.1 and 4.3).

    Args:
        popular: int. Items from the popularity pool, more often the popular ones.
        popular_pool: int. Size K of that pool.
        near: int. The best of `near_pool` random items by a screening teacher.
        near_pool: int. Random items screened a user.
        uniform: int. Uniformly drawn items.
        cold: int. More uniform items for users with at most `cold_max` training events.
        cold_max: int. See `cold`.
        tail: int. Items from the bottom `tail_share` by popularity.
        tail_share: float. See `tail`.
        probe_negatives: int. Sampled negatives beside each hidden training positive;
            0 makes no probes.
        history: int. How many of the last events the teacher sees (L).
        seed: int. Seed of every draw.
    """

    popular: int = Field(3, ge=0)
    popular_pool: int = Field(1000, ge=1)
    near: int = Field(8, ge=0)
    near_pool: int = Field(100, ge=1)
    uniform: int = Field(7, ge=0)
    cold: int = Field(5, ge=0)
    cold_max: int = Field(3, ge=0)
    tail: int = Field(2, ge=0)
    tail_share: float = Field(0.1, gt=0, lt=1)
    probe_negatives: int = Field(4, ge=0)
    history: int = Field(10, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Candidates:
    """Pairs to score, one row a (user, history position), padded with item 0.

    Args:
        users: int64 `[rows]`.
        positions: int64 `[rows]`. The history shown ends before this position.
        items: int64 `[rows, C]`.
        origins: str `[C]`. Why each column's items are asked for.
        labels: int64 `[rows, C]`. 1, 0 or −1 as in the score table.
    """

    users: np.ndarray
    positions: np.ndarray
    items: np.ndarray
    origins: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def frame(self, scores: np.ndarray, kept: np.ndarray) -> pd.DataFrame:
        """The kept pairs as rows of a score table."""
        row, column = np.nonzero(kept)
        return pd.DataFrame(
            {
                "user": self.users[row],
                "item": self.items[row, column],
                "score": scores[row, column],
                "origin": self.origins[column],
                "position": self.positions[row],
                "label": self.labels[row, column],
            }
        )


def draw_candidates(
    split: LeaveOneOut, settings: CandidateSettings, *, screen: Teacher | None = None
) -> list[Candidates]:
    """Draws the candidates of every user, and the reliability probes.

    Only training events are used: a validation or test positive may turn up among the
    candidates as any other item does, and nobody is asked about an item of his own
    training events, the hidden positives of the probes aside. Every draw is a pure
    function of the seed and the user.

    Args:
        split: the store's split.
        settings: how many of each origin.
        screen: a cheap teacher that picks the `near` candidates; needed if
            `settings.near` is positive.

    Returns:
        The candidates proper, and the probes when asked for.

    Raises:
        ConfigError: when `near` candidates are asked for without a `screen`.
    """
    if settings.near and screen is None:
        raise ConfigError(
            "`near` candidates need a `screen`, a teacher that picks them; set "
            f"`near` to 0 to do without. Received: near={settings.near}, screen=None"
        )
    users = np.arange(1, split.store.n_users + 1)
    events = split.train_events
    seen = SeenItems(events.row_of_value(), events.values, split.store.n_items)
    parts = [_candidates(split, settings, users, seen, screen)]
    if settings.probe_negatives:
        parts.append(_probes(split, settings, seen))
    return parts


def _candidates(
    split: LeaveOneOut,
    settings: CandidateSettings,
    users: np.ndarray,
    seen: SeenItems,
    screen: Teacher | None,
) -> Candidates:
    seed = settings.seed
    counts = split.train_counts
    by_popularity = np.argsort(-counts[1:], kind="stable") + 1
    pool = by_popularity[: settings.popular_pool]
    tail = np.flatnonzero(tail_items(counts, share=settings.tail_share))
    tail = tail if len(tail) else by_popularity[-1:]
    columns: list[tuple[str, np.ndarray]] = []

    def draw(origin: str, key: int, choices: np.ndarray, many: int) -> None:
        place = integers(len(choices), seed, key, users[:, None], np.arange(many))
        columns.append((origin, choices[place]))

    if settings.near and screen is not None:
        columns.append(("near", _nearest(split, settings, users, seen, screen)))
    draw("popular", _POPULAR, pool, settings.popular)
    draw("tail", _TAIL, tail, settings.tail)
    everything = np.arange(1, split.store.n_items + 1)
    draw("uniform", _UNIFORM, everything, settings.uniform)
    draw("cold", _COLD, everything, settings.cold)
    items = np.concatenate([block for _, block in columns], axis=1)
    origins = np.concatenate(
        [np.full(block.shape[1], origin, object) for origin, block in columns]
    )
    warm = split.train_lengths[users] > settings.cold_max
    items[np.ix_(warm, origins == "cold")] = 0
    items[seen(users[:, None], items)] = 0
    return Candidates(
        users=users,
        positions=split.train_lengths[users],
        items=_without_repeats(items),
        origins=origins,
        labels=np.full(items.shape, UNKNOWN),
    )


def _nearest(
    split: LeaveOneOut,
    settings: CandidateSettings,
    users: np.ndarray,
    seen: SeenItems,
    screen: Teacher,
    chunk: int = 1024,
) -> np.ndarray:
    result = np.zeros((len(users), settings.near), np.int64)
    for start in range(0, len(users), chunk):
        rows = users[start : start + chunk]
        pool = 1 + integers(
            split.store.n_items,
            settings.seed,
            _NEAR,
            rows[:, None],
            np.arange(settings.near_pool),
        )
        pool[seen(rows[:, None], pool)] = 0
        pool = _without_repeats(pool)
        shown = history_before(
            split.store.events,
            rows,
            split.train_lengths[rows],
            length=settings.history,
        )
        scores = np.nan_to_num(screen.score(shown, pool), nan=-np.inf)
        scores[pool == 0] = -np.inf
        best = np.argsort(-scores, axis=1, kind="stable")[:, : settings.near]
        chosen = np.take_along_axis(pool, best, axis=1)
        answered = np.take_along_axis(scores, best, axis=1) > -np.inf
        result[start : start + chunk, : best.shape[1]] = np.where(answered, chosen, 0)
    return result


def _probes(
    split: LeaveOneOut, settings: CandidateSettings, seen: SeenItems
) -> Candidates:
    """The last training positive, hidden from the history, among sampled negatives."""
    users = np.flatnonzero(split.train_lengths >= 2)
    positions = split.train_lengths[users] - 1
    positives = split.store.events.values[split.store.events.offsets[users] + positions]
    width = settings.probe_negatives
    rows = np.repeat(users, width)
    number = np.tile(np.arange(width), len(users))
    drawn = negatives(rows, seen, settings.seed, _PROBE, rows, number)
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


def _without_repeats(items: np.ndarray) -> np.ndarray:
    """Zeroes the later ones of equal items in a row."""
    order = np.argsort(items, axis=1, kind="stable")
    ranked = np.take_along_axis(items, order, axis=1)
    repeat = np.zeros(items.shape, bool)
    repeat[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    result = items.copy()
    np.put_along_axis(result, order, np.where(repeat, 0, ranked), axis=1)
    return result


def unique_pairs(parts: list[Candidates], n_items: int) -> list[np.ndarray]:
    """Marks the pairs to score; a probe's pair gives way to none, others to probes.

    Args:
        parts: candidates and probes of the same users.
        n_items: int. Catalogue size.

    Returns:
        For each part a boolean `[rows, C]`.
    """
    keys = [part.users[:, None] * (n_items + 1) + part.items for part in parts]
    kept = [part.items > 0 for part in parts]
    if len(parts) > 1:
        kept[0] &= ~np.isin(keys[0], keys[1][kept[1]])
    return kept
