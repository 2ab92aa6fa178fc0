import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import DataError

# User 1 has no training row, 2 has two, 3 has one.
HISTORIES = [[1, 2, 3], [4, 5, 6, 7, 8], [2, 1, 4, 3]]


@pytest.fixture
def by_hand(split_of):
    return split_of(HISTORIES, 9)


def rows(targets):
    columns = (targets.users, targets.positions, targets.items)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_train(by_hand):
    assert rows(by_hand.train) == [(2, 1, 5), (2, 2, 6), (3, 1, 1)]
    assert len(by_hand.train) == 3


def test_validation(by_hand):
    assert rows(by_hand.validation) == [(1, 1, 2), (2, 3, 7), (3, 2, 4)]


def test_test(by_hand):
    assert rows(by_hand.test) == [(1, 2, 3), (2, 4, 8), (3, 3, 3)]


def test_train_events(by_hand):
    assert by_hand.train_lengths.tolist() == [0, 1, 3, 2]
    events = by_hand.train_events
    assert [events.row(u).tolist() for u in range(4)] == [[], [1], [4, 5, 6], [2, 1]]


def test_train_counts(by_hand):
    assert by_hand.train_counts.tolist() == [0, 2, 1, 0, 1, 1, 1, 0, 0, 0]


def test_seen_covers_the_held_out_events(by_hand):
    seen = by_hand.seen
    items = np.arange(1, 10)
    for user, history in enumerate(HISTORIES, start=1):
        found = items[seen(np.full(9, user), items)]
        assert found.tolist() == sorted(history)


def test_small_store(split):
    lengths = split.lengths[1:]
    assert lengths.tolist() == [5 + user % 8 for user in range(1, 31)]
    assert len(split.train) == (lengths - 3).sum()
    assert len(split.validation) == len(split.test) == 30
    # The first of user 4: i29 and then every 11th item of 40.
    assert split.store.events.row(4)[:4].tolist() == [29, 40, 11, 22]
    assert rows(split.train)[split.train.users.tolist().index(4)] == (4, 1, 40)


HISTORIES_OF_ALL_LENGTHS = st.lists(
    st.lists(st.integers(1, 9), min_size=3, max_size=8), min_size=1, max_size=6
).filter(lambda histories: max(map(len, histories)) > 3)


@settings(deadline=None)
@given(HISTORIES_OF_ALL_LENGTHS)
def test_parts_the_events(split_of, histories):
    split = split_of(histories, 9)
    parts = rows(split.train) + rows(split.validation) + rows(split.test)
    every = {
        (user, position, item)
        for user, history in enumerate(histories, start=1)
        for position, item in enumerate(history)
        if position > 0
    }
    assert set(parts) == every and len(parts) == len(every)
    assert rows(split.train) == sorted(rows(split.train))
    held_out = [i for h in histories for i in h[-2:]]
    every_item = [i for h in histories for i in h]
    expected = np.bincount(every_item, minlength=10) - np.bincount(
        held_out, minlength=10
    )
    np.testing.assert_array_equal(split.train_counts, expected)


@settings(deadline=None)
@given(HISTORIES_OF_ALL_LENGTHS, st.data())
def test_training_side_does_not_depend_on_the_held_out_events(
    split_of, histories, data
):
    items = st.integers(1, 9)
    other = [[*h[:-2], data.draw(items), data.draw(items)] for h in histories]
    one, two = split_of(histories, 9), split_of(other, 9)
    assert rows(one.train) == rows(two.train)
    np.testing.assert_array_equal(one.train_counts, two.train_counts)
    np.testing.assert_array_equal(one.train_events.values, two.train_events.values)


def test_too_few_events(split_of):
    with pytest.raises(DataError, match="at least 3 events a user. Received: 2 users"):
        split_of([[1, 2], [1, 2, 3, 4], [1]], 4)
    with pytest.raises(DataError, match="Received: 2 users with at most 3 events"):
        split_of([[1, 2, 3], [4, 5, 6]], 6)
