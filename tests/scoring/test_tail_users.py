from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.scoring import tail_users
from keras_sllmr.scoring.tail_users import TailUsers
from keras_sllmr.store.draws import SeenItems
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut

SplitOf = Callable[[list[list[int]], int], LeaveOneOut]

ITEMS = 60
TAIL = np.array([3, 14, 15, 59])


class _Even:
    """Finds everything best for users whose last event is the highest item."""

    name = "even"

    def __init__(self, unknown: int = 0) -> None:
        self.unknown, self.pairs = unknown, 0

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        self.pairs += candidates.size
        assert candidates.shape == (len(histories), 1) and (candidates > 0).all()
        last = histories[:, -1:].astype(np.float32)
        return np.where(candidates == self.unknown, np.nan, last)


@pytest.fixture
def split(split_of: SplitOf, histories: list[list[int]]) -> LeaveOneOut:
    return split_of(histories, ITEMS)


def _users(split: LeaveOneOut, items: np.ndarray = TAIL, most: int = 8) -> TailUsers:
    events = split.train_events
    seen = SeenItems(events.row_of_value(), events.values, split.store.n_items)
    return TailUsers(split, items, seen, most=most, history=5, seed=3)


def _pairs(assigned: Ragged) -> set[tuple[int, int]]:
    users = assigned.row_of_value().tolist()
    return set(zip(users, assigned.values.tolist(), strict=True))


@pytest.mark.parametrize(("mean", "each"), [(1, 10), (0.01, 1), (2, 20), (0.33, 3)])
def test_every_item_gets_equally_many_users(
    split: LeaveOneOut, mean: float, each: int
) -> None:
    for assigned in (
        _users(split).random(mean, 1),
        _users(split).plausible(mean, 5, _Even(), 1),
    ):
        assert len(assigned) == 41 and assigned.lengths[0] == 0
        assert np.bincount(assigned.values)[TAIL].tolist() == [each] * 4
        assert len(_pairs(assigned)) == 4 * each


def test_users_get_about_equally_many_items(split: LeaveOneOut) -> None:
    lengths = _users(split).random(1, 1).lengths[1:]
    assert lengths.mean() == 1 and lengths.max() <= 2


def test_nobody_has_interacted_with_his_items(split: LeaveOneOut) -> None:
    popular = np.argsort(-split.train_counts)[:4]
    for assigned in (
        _users(split, popular).random(2, 1),
        _users(split, popular).plausible(2, 5, _Even(), 1),
    ):
        known = {
            (user, item)
            for user in range(1, 41)
            for item in split.train_events.row(user)
        }
        assert _pairs(assigned) and not _pairs(assigned) & known


def test_an_item_that_all_but_few_have_seen(split_of: SplitOf) -> None:
    split = split_of([[1, 2, 3, 4]] * 9 + [[2, 5, 3, 4]], 5)
    assigned = _users(split, np.array([1, 5])).random(2, 1)
    assert {user for user, item in _pairs(assigned) if item == 1} == {10}
    assert {user for user, item in _pairs(assigned) if item == 5} == {*range(1, 10)}


def test_plausible_users_are_the_best_of_the_pool(split: LeaveOneOut) -> None:
    last = np.array([0, *(split.train_events.row(u)[-1] for u in range(1, 41))])
    pools = _users(split).random(3, 7)  # 30 users of each item: thrice 10
    screen = _Even()
    best = _users(split).plausible(1, 5, screen, 7)
    assert screen.pairs == 4 * 30
    for item in TAIL:
        pool = [user for user, found in _pairs(pools) if found == item]
        chosen = [user for user, found in _pairs(best) if found == item]
        assert set(chosen) <= set(pool)
        assert sorted(last[chosen]) == sorted(last[pool])[-10:]


def test_a_larger_pool(split: LeaveOneOut) -> None:
    screen = _Even()
    _users(split).plausible(0.1, 25, screen, 7)
    assert screen.pairs == 4 * 25


def test_no_answer_no_users(split: LeaveOneOut) -> None:
    assigned = _users(split).plausible(1, 5, _Even(unknown=14), 7)
    assert set(assigned.values) == {3, 15, 59}


def test_a_user_has_no_more_than_the_most(split: LeaveOneOut) -> None:
    items = np.arange(1, 31)
    free = _users(split, items, most=30).random(10, 1)
    capped = _users(split, items, most=4).random(10, 1)
    assert free.lengths.max() > 4
    assert capped.lengths.tolist() == np.minimum(free.lengths, 4).tolist()
    assert _pairs(capped) < _pairs(free)
    # Which of them is drawn, not the first ones.
    assert len(set(capped.values)) == 30


def test_blocks_change_nothing(
    split: LeaveOneOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def both() -> list[list[int]]:
        users = _users(split)
        parts = [users.random(1, 1), users.plausible(1, 5, _Even(), 2)]
        return [part.values.tolist() + part.offsets.tolist() for part in parts]

    whole = both()
    monkeypatch.setattr(tail_users, "_PAIRS", 1)
    assert both() == whole


def test_keys_and_seeds_give_other_users(split: LeaveOneOut) -> None:
    one, other = _users(split).random(0.5, 1), _users(split).random(0.5, 2)
    assert _pairs(one) != _pairs(other)
