from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.candidates import Candidates, CandidateSettings
from keras_sllmr.scoring.sampler import CandidateSampler
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
    cold_pool=20,
    tail=2,
    tail_near=1,
    tail_pool=10,
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


def _everybody(split: LeaveOneOut) -> np.ndarray:
    return np.arange(1, len(split.lengths))


def _drawn(
    split: LeaveOneOut, settings: CandidateSettings = SETTINGS, **options: Any
) -> list[Candidates]:
    options.setdefault("screen", _ByIndex())
    return CandidateSampler(split, settings, **options).draw(_everybody(split))


def _columns(part: Candidates, origin: str) -> np.ndarray:
    return part.items[:, part.origins == origin]


def _equal(one: list[Candidates], other: list[Candidates]) -> None:
    assert len(one) == len(other)
    for part, same in zip(one, other, strict=True):
        for name in ("users", "positions", "items", "origins", "labels"):
            np.testing.assert_array_equal(getattr(part, name), getattr(same, name))


@pytest.fixture(scope="module")
def split(split_of: SplitOf, histories: list[list[int]]) -> LeaveOneOut:
    return split_of(histories, ITEMS)


@pytest.fixture(scope="module")
def sampler(split: LeaveOneOut) -> CandidateSampler:
    return CandidateSampler(split, SETTINGS, screen=_ByIndex())


@pytest.fixture(scope="module")
def parts(sampler: CandidateSampler, split: LeaveOneOut) -> list[Candidates]:
    return sampler.draw(_everybody(split))


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


ORIGINS = ["near", "popular", "tail_near", "tail", "uniform", "cold"]


def test_counts_of_origins(parts: list[Candidates]) -> None:
    origins, counts = np.unique(parts[0].origins.astype(str), return_counts=True)
    found = dict(zip(origins, counts, strict=True))
    assert list(dict.fromkeys(parts[0].origins)) == ORIGINS
    # 12 tail items, 7 users of each sort: 84 pairs of 40 users.
    assert 2 <= found.pop("tail") <= 4 and 1 <= found.pop("tail_near") <= 8
    assert found == {"near": 3, "popular": 4, "uniform": 5, "cold": 6}
    assert parts[0].items.shape == parts[0].labels.shape == (40, len(parts[0].origins))


@pytest.mark.parametrize("origin", ORIGINS)
def test_an_origin_can_be_left_out(split: LeaveOneOut, origin: str) -> None:
    part, _ = _drawn(split, SETTINGS.model_copy(update={origin: 0}))
    assert set(part.origins) == set(ORIGINS) - {origin}


def test_no_origin_at_all(split: LeaveOneOut) -> None:
    settings = CandidateSettings(**dict.fromkeys(ORIGINS, 0), probe_negatives=0)
    (part,) = _drawn(split, settings, screen=None)
    assert part.items.shape == (40, 0)


def test_cold_extras_are_for_cold_users(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    extras = _columns(parts[0], "cold")
    cold = split.train_lengths[1:] <= 3
    assert cold.any() and not cold.all()
    assert (extras[cold] > 0).any(1).all()
    assert (extras[~cold] == 0).all()


def _only_cold(split: LeaveOneOut, **options: Any) -> np.ndarray:
    nothing = dict.fromkeys(set(ORIGINS) - {"cold"}, 0)
    update = {**nothing, "cold": 4, "cold_pool": 60, "probe_negatives": 0}
    (part,) = _drawn(split, SETTINGS.model_copy(update=update), **options)
    return part.items[split.train_lengths[1:] <= 3]


def test_cold_items_are_unlike_one_another(split: LeaveOneOut) -> None:
    # Four groups of the same text, and items 57 to 60 without any.
    group = np.arange(ITEMS + 1) % 4
    vectors = np.eye(4, dtype=np.float32)[group]
    vectors[[0, 57, 58, 59, 60]] = 0
    for items in _only_cold(split, vectors=vectors):
        assert sorted(group[items]) == [0, 1, 2, 3]
        assert items.max() < 57


def test_cold_items_are_unlike_by_attributes(split: LeaveOneOut) -> None:
    """Without vectors: an item n has n % 3 attributes, the first n % 3 + 1."""
    sorts = {int(item) % 3 for row in _only_cold(split) for item in row[:2]}
    assert sorts == {1, 2}


def test_cold_items_without_vectors_and_attributes_are_random(
    split: LeaveOneOut,
) -> None:
    items = _only_cold(split, vectors=np.zeros((ITEMS + 1, 1), np.float32))
    assert (items > 0).all() and len(np.unique(items)) > 20


@pytest.mark.parametrize("shape", [(ITEMS, 3), (ITEMS + 1,)])
def test_vectors_of_another_catalogue(
    split: LeaveOneOut, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ConfigError, match="one row an item and the empty row 0"):
        _drawn(split, vectors=np.zeros(shape, np.float32))


def test_pools(split: LeaveOneOut, parts: list[Candidates]) -> None:
    def drawn(origin: str) -> set[int]:
        return set(_columns(parts[0], origin).ravel()) - {0}

    by_count = np.argsort(-split.train_counts[1:], kind="stable") + 1
    assert drawn("popular") == set(by_count[:15])
    tail = set(np.flatnonzero(tail_items(split.train_counts, share=0.2)))
    assert drawn("tail") == tail and drawn("tail_near") <= tail
    assert len(drawn("uniform")) > 45


def test_a_small_catalogue_has_a_tail_of_one(split_of: SplitOf) -> None:
    split = split_of([[1, 2, 3, 4]] * 3, 8)
    settings = SETTINGS.model_copy(update={"tail_share": 0.05, "near": 0})
    part, _ = _drawn(split, settings)
    assert set(_columns(part, "tail").ravel()) <= {0, 8}


def test_near_is_the_best_of_the_pool(split: LeaveOneOut) -> None:
    screen = _ByIndex(unknown=(58, 60))
    settings = SETTINGS.model_copy(update={"probe_negatives": 0})
    (part,) = _drawn(split, settings, screen=screen)
    near = part.items[:, part.origins == "near"]
    pool = screen.asked[-1][1]
    assert pool.shape == (40, 20)
    for user, offered, chosen in zip(part.users, pool, near, strict=True):
        offered = set(offered) - {0, 58, 60}
        assert not offered & set(split.train_events.row(user))
        assert chosen.tolist() == sorted(offered, reverse=True)[:3]


def test_near_without_enough_answers_is_left_empty(split: LeaveOneOut) -> None:
    screen = _ByIndex(unknown=tuple(range(1, 60)))
    settings = SETTINGS.model_copy(update={"probe_negatives": 0})
    (part,) = _drawn(split, settings, screen=screen)
    near = part.items[:, part.origins == "near"]
    assert set(near.ravel()) == {0, 60}
    assert (near[:, 1:] == 0).all()


def test_a_pool_smaller_than_near(split: LeaveOneOut) -> None:
    settings = SETTINGS.model_copy(update={"near": 5, "near_pool": 2})
    part, _ = _drawn(split, settings)
    near = part.items[:, part.origins == "near"]
    assert near.shape == (40, 5) and (near[:, 2:] == 0).all()


def test_the_screen_sees_the_last_training_events(split: LeaveOneOut) -> None:
    screen = _ByIndex()
    _drawn(split, screen=screen)
    shown = screen.asked[-1][0]
    users = np.arange(1, 41)
    np.testing.assert_array_equal(
        shown,
        history_before(split.store.events, users, split.train_lengths[users], length=3),
    )
    for user, row in zip(users.tolist(), shown, strict=True):
        assert row[row > 0].tolist() == split.train_events.row(user)[-3:].tolist()


def test_who_is_drawn_with_whom_changes_nothing(
    sampler: CandidateSampler, parts: list[Candidates]
) -> None:
    chunks = [sampler.draw(users) for users in np.split(_everybody(sampler.split), 5)]
    for number, part in enumerate(parts):
        for name in ("users", "positions", "items", "labels"):
            found = np.concatenate([getattr(chunk[number], name) for chunk in chunks])
            np.testing.assert_array_equal(found, getattr(part, name))


@hypothesis_settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 40), unique=True))
def test_any_users_in_any_order(
    sampler: CandidateSampler, parts: list[Candidates], users: list[int]
) -> None:
    found = sampler.draw(users)
    assert found[0].users.tolist() == users
    for part, all_rows in zip(found, parts, strict=True):
        row = np.searchsorted(all_rows.users, part.users)
        np.testing.assert_array_equal(part.users, all_rows.users[row])
        np.testing.assert_array_equal(part.items, all_rows.items[row])
        np.testing.assert_array_equal(part.positions, all_rows.positions[row])


def test_many_users_are_drawn_in_blocks(
    sampler: CandidateSampler, monkeypatch: pytest.MonkeyPatch, parts: list[Candidates]
) -> None:
    monkeypatch.setattr("keras_sllmr.scoring.sampler._ROWS", 7)
    _equal(sampler.draw(_everybody(sampler.split)), parts)


def test_draws_are_a_pure_function_of_the_seed(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    _equal(_drawn(split), parts)
    other = _drawn(split, SETTINGS.model_copy(update={"seed": 3}))
    for part, different in zip(parts, other, strict=True):
        wide = min(part.items.shape[1], different.items.shape[1])
        changed = part.items[:, :wide] != different.items[:, :wide]
        assert changed.any(1).mean() > 0.9


@hypothesis_settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_held_out_events_choose_nothing(
    split_of: SplitOf,
    histories: list[list[int]],
    parts: list[Candidates],
    random: Any,
) -> None:
    changed = []
    for history in histories:
        others = sorted(set(range(1, ITEMS + 1)) - set(history))
        changed.append([*history[:-2], *random.sample(others, 2)])
    _equal(_drawn(split_of(changed, ITEMS)), parts)


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
    assert len(_drawn(split, settings)) == 1


@pytest.mark.parametrize("other", ["near", "tail_near"])
def test_screened_origins_need_a_screen(split: LeaveOneOut, other: str) -> None:
    settings = SETTINGS.model_copy(update={other: 0})
    with pytest.raises(ConfigError, match="`near` and `tail_near` .*need a `screen`"):
        CandidateSampler(split, settings)


def test_a_user_who_has_seen_everything(split_of: SplitOf) -> None:
    split = split_of([[1, 2, 3, 4, 5], [1, 2, 3, 4, 5]], 3 + 2)
    full = split_of([[1, 2, 3, 1, 2]], 3)
    settings = SETTINGS.model_copy(update={"near": 0, "tail_near": 0})
    assert len(_drawn(split, settings, screen=None)) == 2
    with pytest.raises(DataError, match="seen nearly all 3 items"):
        _drawn(full, settings, screen=None)


def test_no_pair_is_asked_twice(parts: list[Candidates]) -> None:
    pairs = [
        (user, item)
        for part in parts
        for user, items in zip(part.users, _filled(part), strict=True)
        for item in items
    ]
    assert len(set(pairs)) == len(pairs)


def test_doubles_are_left_to_the_probes(
    split: LeaveOneOut, parts: list[Candidates]
) -> None:
    alone, *_ = _drawn(split, SETTINGS.model_copy(update={"probe_negatives": 0}))
    asked = dict(zip(parts[1].users, parts[1].items, strict=True))
    given_way = 0
    for user, before, after in zip(
        alone.users, alone.items, parts[0].items, strict=True
    ):
        double = np.isin(before, asked.get(user, [])) & (before > 0)
        np.testing.assert_array_equal(after, np.where(double, 0, before))
        given_way += double.sum()
    assert given_way > 0


def test_probe_users_are_as_many_as_said_and_drawn_at_random(
    split: LeaveOneOut,
) -> None:
    every_user = _everybody(split)
    settings = SETTINGS.model_copy(update={"probe_users": 7})
    sampler = CandidateSampler(split, settings, screen=_ByIndex())
    _, probes = sampler.draw(every_user)
    assert len(probes) == 7 == len(sampler.probe_order)
    assert sampler.rows(every_user) == len(every_user) + 7
    assert set(probes.users) == set(sampler.probe_order)
    # The same users come first, however many are wanted.
    settings = settings.model_copy(update={"probe_users": 3})
    fewer = CandidateSampler(split, settings, screen=_ByIndex())
    np.testing.assert_array_equal(fewer.probe_order, sampler.probe_order[:3])
    # Who has no probe keeps the candidates that one would have taken.
    np.testing.assert_array_equal(
        sampler.candidates(every_user).items, sampler.draw(every_user)[0].items
    )
