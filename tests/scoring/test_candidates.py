from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.candidates import (
    Candidates,
    CandidateSettings,
    _nearest,
    draw_candidates,
    unique_pairs,
)
from keras_sllmr.store.draws import SeenItems
from keras_sllmr.store.history import history_before
from keras_sllmr.store.popularity import tail_items
from keras_sllmr.store.split import LeaveOneOut

SplitOf = Callable[[list[list[int]], int], LeaveOneOut]

ITEMS = 60
SETTINGS = CandidateSettings(
    popular=4,
    popular_pool=15,
    near=3,
    near_pool=20,
    uniform=5,
    cold=6,
    cold_max=3,
    tail=2,
    tail_share=0.2,
    probe_negatives=4,
    history=3,
    seed=2,
)


class _ByIndex:
    """Likes items with a high index, shows what it was asked, and skips some items."""

    name = "by-index"

    def __init__(self, unknown: tuple[int, ...] = ()) -> None:
        self.unknown = unknown
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        self.asked.append((histories, candidates))
        known = (candidates > 0) & ~np.isin(candidates, self.unknown)
        return np.where(known, candidates, np.nan).astype(np.float32)


@pytest.fixture
def split(split_of: SplitOf, histories: list[list[int]]) -> LeaveOneOut:
    return split_of(histories, ITEMS)


@pytest.fixture
def parts(split: LeaveOneOut) -> list[Candidates]:
    return draw_candidates(split, SETTINGS, screen=_ByIndex())


def _filled(part: Candidates) -> list[np.ndarray]:
    return [row[row > 0] for row in part.items]


def test_nobody_is_asked_about_own_training_events(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    for user, items in zip(parts[0].users, _filled(parts[0]), strict=True):
        assert not set(items) & set(split.train_events.row(user))
    for user, items in zip(parts[1].users, parts[1].items, strict=True):
        assert not set(items[1:]) & set(split.train_events.row(user))


def test_no_repeats_in_a_row(parts: list[Candidates]) -> None:
    for part in parts:
        for items in _filled(part):
            assert len(set(items)) == len(items)
            assert items.min() >= 1 and items.max() <= ITEMS


def test_every_user_has_a_row_before_the_first_held_out_event(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    np.testing.assert_array_equal(parts[0].users, np.arange(1, len(split.lengths)))
    np.testing.assert_array_equal(parts[0].positions, split.train_lengths[1:])
    assert (parts[0].labels == -1).all()


def test_counts_of_origins(parts: list[Candidates]) -> None:
    origins, counts = np.unique(parts[0].origins.astype(str), return_counts=True)
    assert dict(zip(origins, counts, strict=True)) == {
        "near": 3,
        "popular": 4,
        "tail": 2,
        "uniform": 5,
        "cold": 6,
    }
    assert parts[0].items.shape == parts[0].labels.shape == (40, 20)


@pytest.mark.parametrize("origin", ["near", "popular", "tail", "uniform", "cold"])
def test_an_origin_can_be_left_out(split: LeaveOneOut, origin: str) -> None:
    settings = SETTINGS.model_copy(update={origin: 0})
    part, _ = draw_candidates(split, settings, screen=_ByIndex())
    assert origin not in part.origins


def test_no_origin_at_all(split: LeaveOneOut) -> None:
    nothing = dict.fromkeys(["near", "popular", "tail", "uniform", "cold"], 0)
    settings = CandidateSettings(**nothing, probe_negatives=0)
    (part,) = draw_candidates(split, settings)
    assert part.items.shape == (40, 0)


def test_cold_extras_are_for_cold_users(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    extras = parts[0].items[:, parts[0].origins == "cold"]
    cold = split.train_lengths[1:] <= 3
    assert cold.any() and not cold.all()
    assert (extras[cold] > 0).any(1).all()
    assert (extras[~cold] == 0).all()


def test_pools(split: LeaveOneOut, parts: list[Candidates]) -> None:
    def drawn(origin: str) -> set[int]:
        return set(parts[0].items[:, parts[0].origins == origin].ravel()) - {0}

    by_count = np.argsort(-split.train_counts[1:], kind="stable") + 1
    assert drawn("popular") == set(by_count[:15])
    tail = set(np.flatnonzero(tail_items(split.train_counts, share=0.2)))
    assert drawn("tail") <= tail and len(drawn("tail")) > 6
    assert len(drawn("uniform")) > 45


def test_a_small_catalogue_has_a_tail_of_one(split_of: SplitOf) -> None:
    split = split_of([[1, 2, 3, 4]] * 3, 8)
    settings = SETTINGS.model_copy(update={"tail_share": 0.05, "near": 0})
    part, _ = draw_candidates(split, settings)
    assert set(part.items[:, part.origins == "tail"].ravel()) <= {0, 8}


def test_near_is_the_best_of_the_pool(split: LeaveOneOut) -> None:
    screen = _ByIndex(unknown=(58, 60))
    part, _ = draw_candidates(split, SETTINGS, screen=screen)
    near = part.items[:, part.origins == "near"]
    ((_, pool),) = screen.asked
    assert pool.shape == (40, 20)
    for user, offered, chosen in zip(part.users, pool, near, strict=True):
        offered = set(offered) - {0, 58, 60}
        assert not offered & set(split.train_events.row(user))
        assert chosen.tolist() == sorted(offered, reverse=True)[:3]


def test_near_without_enough_answers_is_left_empty(split: LeaveOneOut) -> None:
    screen = _ByIndex(unknown=tuple(range(1, 60)))
    part, _ = draw_candidates(split, SETTINGS, screen=screen)
    near = part.items[:, part.origins == "near"]
    assert set(near.ravel()) == {0, 60}
    assert (near[:, 1:] == 0).all()


def test_a_pool_smaller_than_near(split: LeaveOneOut) -> None:
    settings = SETTINGS.model_copy(update={"near": 5, "near_pool": 2})
    part, _ = draw_candidates(split, settings, screen=_ByIndex())
    near = part.items[:, part.origins == "near"]
    assert near.shape == (40, 5) and (near[:, 2:] == 0).all()


def test_the_screen_sees_the_last_training_events(split: LeaveOneOut) -> None:
    screen = _ByIndex()
    draw_candidates(split, SETTINGS, screen=screen)
    ((shown, _),) = screen.asked
    users = np.arange(1, 41)
    np.testing.assert_array_equal(
        shown,
        history_before(split.store.events, users, split.train_lengths[users], length=3),
    )
    for user, row in zip(users, shown, strict=True):
        assert row[row > 0].tolist() == split.train_events.row(user)[-3:].tolist()


def test_chunks_do_not_change_the_nearest(split: LeaveOneOut) -> None:
    events = split.train_events
    seen = SeenItems(events.row_of_value(), events.values, ITEMS)
    users = np.arange(1, 41)
    whole, parted = (
        _nearest(split, SETTINGS, users, seen, _ByIndex(), chunk=chunk)
        for chunk in (1024, 7)
    )
    np.testing.assert_array_equal(whole, parted)


def test_draws_are_a_pure_function_of_the_seed(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    again = draw_candidates(split, SETTINGS, screen=_ByIndex())
    other = draw_candidates(
        split, SETTINGS.model_copy(update={"seed": 3}), screen=_ByIndex()
    )
    for part, same, different in zip(parts, again, other, strict=True):
        np.testing.assert_array_equal(part.items, same.items)
        assert (part.items != different.items).any(1).mean() > 0.9


def test_held_out_events_choose_nothing(
    split_of: SplitOf, histories: list[list[int]], parts: list[Candidates]
) -> None:
    changed = []
    for history in histories:
        others = sorted(set(range(1, ITEMS + 1)) - set(history))
        changed.append([*history[:-2], *others[:2]])
    again = draw_candidates(split_of(changed, ITEMS), SETTINGS, screen=_ByIndex())
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part.items, same.items)
        np.testing.assert_array_equal(part.positions, same.positions)


def test_held_out_items_may_turn_up(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    """Leaving them out would tell the teacher's student what is held out."""
    held_out = np.column_stack([split.validation.items, split.test.items])
    assert (parts[0].items[:, :, None] == held_out[:, None, :]).any()


def test_probes_hide_the_last_training_event(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    probes = parts[1]
    np.testing.assert_array_equal(
        probes.users, np.flatnonzero(split.train_lengths >= 2)
    )
    for user, position, items in zip(
        probes.users, probes.positions, probes.items, strict=True
    ):
        assert position == split.train_lengths[user] - 1
        assert items[0] == split.train_events.row(user)[-1]
    assert set(probes.origins) == {"probe"}
    np.testing.assert_array_equal(probes.labels, [[1, 0, 0, 0, 0]] * len(probes.users))


def test_no_probes_when_not_asked_for(split: LeaveOneOut) -> None:
    settings = SETTINGS.model_copy(update={"probe_negatives": 0})
    assert len(draw_candidates(split, settings, screen=_ByIndex())) == 1


def test_near_needs_a_screen(split: LeaveOneOut) -> None:
    with pytest.raises(ConfigError, match="`near` candidates need a `screen`.*near=3"):
        draw_candidates(split, SETTINGS)


def test_a_user_who_has_seen_everything(split_of: SplitOf) -> None:
    split = split_of([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], 3 + 2)
    full = split_of([[1, 2, 3, 1, 2]], 3)
    settings = SETTINGS.model_copy(update={"near": 0})
    assert len(draw_candidates(split, settings)) == 2
    with pytest.raises(DataError, match="seen nearly all 3 items"):
        draw_candidates(full, settings)


def _part(users: list[int], items: list[list[int]]) -> Candidates:
    shape = np.array(items).shape
    return Candidates(
        users=np.array(users),
        positions=np.array(users) + 1,
        items=np.array(items),
        origins=np.array(["a", "b", "c"][: shape[1]], object),
        labels=np.full(shape, -1),
    )


def test_unique_pairs_leaves_doubles_to_the_probes() -> None:
    parts = [_part([1, 2], [[5, 6, 0], [5, 0, 7]]), _part([1, 3], [[6, 9], [5, 0]])]
    kept = unique_pairs(parts, 9)
    np.testing.assert_array_equal(kept[0], [[True, False, False], [True, False, True]])
    np.testing.assert_array_equal(kept[1], [[True, True], [True, False]])
    (alone,) = unique_pairs(parts[:1], 9)
    np.testing.assert_array_equal(alone, parts[0].items > 0)


def test_no_pair_is_asked_twice(parts: list[Candidates]) -> None:
    kept = unique_pairs(parts, ITEMS)
    pairs = [
        (user, item)
        for part, keep in zip(parts, kept, strict=True)
        for user, items, row in zip(part.users, part.items, keep, strict=True)
        for item in items[row]
    ]
    assert len(set(pairs)) == len(pairs)
    asked = {
        (user, item)
        for part in parts
        for user, items in zip(part.users, _filled(part), strict=True)
        for item in items
    }
    assert set(pairs) == asked


def test_frame() -> None:
    part = _part([1, 2], [[5, 6], [7, 0]])
    scores = np.array([[0.1, 0.2], [0.3, 0.4]])
    frame = part.frame(scores, np.array([[False, True], [True, False]]))
    assert frame.to_dict("list") == {
        "user": [1, 2],
        "item": [6, 7],
        "score": [0.2, 0.3],
        "origin": ["b", "a"],
        "position": [2, 3],
        "label": [-1, -1],
    }
