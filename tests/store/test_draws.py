import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from keras_sllmr.errors import DataError
from keras_sllmr.store.draws import SeenItems, integers, mix, negatives, permutation

SEEDS = st.integers(-(2**63), 2**63 - 1)


def seen_of(histories, n_items):
    """What users 1, 2, … have seen."""
    users = [u for u, items in enumerate(histories, start=1) for _ in items]
    items = [item for history in histories for item in history]
    return SeenItems(np.array(users, int), np.array(items, int), n_items)


@st.composite
def catalogues(draw):
    """Histories that leave every user at least two items unseen."""
    n_items = draw(st.integers(3, 12))
    numbers = st.lists(st.integers(1, n_items), max_size=n_items - 2, unique=True)
    return draw(st.lists(numbers, min_size=1, max_size=5)), n_items


def splitmix(key, state=0):
    """The finaliser in plain Python integers."""
    word = 2**64 - 1
    state = ((state ^ (key & word)) + 0x9E3779B97F4A7C15) & word
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & word
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & word
    return state ^ (state >> 31)


def test_mix_is_splitmix64():
    # The first output of splitmix64 with the seed 0, as published.
    assert int(mix(0)) == 0xE220A8397B1DCDAF == splitmix(0)


@given(st.lists(SEEDS, min_size=1, max_size=4))
def test_mix_chains(keys):
    state = 0
    for key in keys:
        state = splitmix(key, state)
    assert int(mix(*keys)) == state


@given(SEEDS, st.lists(SEEDS, min_size=1, max_size=6), st.integers(0, 9))
def test_mix_broadcasts(seed, column, last):
    table = mix(seed, np.array(column)[:, None], np.arange(last))
    assert table.shape == (len(column), last) and table.dtype == np.uint64
    expected = [[int(mix(seed, key, n)) for n in range(last)] for key in column]
    assert table.tolist() == expected


def test_mix_tells_keys_apart():
    both = mix(np.arange(300)[:, None], np.arange(300))
    assert len(np.unique(both)) == both.size
    assert mix(1, 2) != mix(2, 1) and mix(1) != mix(1, 0)


def test_mix_takes_any_integer_type():
    for kind in (np.int8, np.int32, np.int64, np.uint8, np.uint32):
        np.testing.assert_array_equal(
            mix(3, np.arange(5, dtype=kind)), mix(3, range(5))
        )


def test_each_bit_is_fair():
    bits = mix(7, np.arange(20_000))[:, None] >> np.arange(64, dtype=np.uint64) & 1
    assert np.abs(bits.mean(0) - 0.5).max() < 0.015  # 4.2 standard deviations


@pytest.mark.parametrize("high", [2, 10, 97])
@pytest.mark.parametrize("keys", [(0,), (5, 3), (-1, 2**40)])
def test_integers_are_uniform(high, keys):
    drawn = integers(high, *keys, np.arange(20_000))
    assert drawn.dtype == np.int64
    counts = np.bincount(drawn, minlength=high)
    assert len(counts) == high
    assert stats.chisquare(counts).pvalue > 1e-3


def test_integers_of_consecutive_epochs_are_independent():
    rows = np.arange(20_000)
    table = np.zeros((6, 6))
    np.add.at(table, (integers(6, 0, 1, rows), integers(6, 0, 2, rows)), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-3


def test_integers_below_one():
    assert integers(1, 0, np.arange(4)).tolist() == [0, 0, 0, 0]


@given(st.integers(0, 200), SEEDS, st.integers(0, 50))
def test_permutation_is_one(rows, seed, epoch):
    order = permutation(rows, seed, epoch)
    assert sorted(order.tolist()) == list(range(rows))
    np.testing.assert_array_equal(order, permutation(rows, seed, epoch))


def test_permutations_differ_and_are_uniform():
    orders = np.array([permutation(4, 0, epoch) for epoch in range(4800)])
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_seen_by_hand():
    seen = seen_of([[3, 1], [], [2]], n_items=3)
    table = seen(np.arange(1, 4)[:, None], np.arange(1, 4))
    assert table.tolist() == [
        [True, False, True],
        [False, False, False],
        [False, True, False],
    ]


def test_nothing_seen():
    seen = SeenItems(np.zeros(0, int), np.zeros(0, int), 3)
    assert seen(np.ones((2, 1), int), np.arange(1, 4)).tolist() == [[False] * 3] * 2
    assert negatives(np.ones(4, int), seen, 0, np.arange(4)).min() >= 1


@given(catalogues())
def test_seen_says_what_the_histories_say(catalogue):
    histories, n_items = catalogue
    seen = seen_of(histories, n_items)
    for user, history in enumerate(histories, start=1):
        items = np.arange(1, n_items + 1)
        assert items[seen(np.full(n_items, user), items)].tolist() == sorted(history)


@given(catalogues(), SEEDS, st.integers(0, 99), st.randoms(use_true_random=False))
def test_negatives_are_unseen_and_pure(catalogue, seed, epoch, random):
    histories, n_items = catalogue
    seen = seen_of(histories, n_items)
    users = np.repeat(np.arange(1, len(histories) + 1), 4)
    positions = np.tile(np.arange(4), len(histories))
    drawn = negatives(users, seen, seed, epoch, users, positions)
    assert drawn.min() >= 1 and drawn.max() <= n_items
    assert not seen(users, drawn).any()
    # In another order, and in two shards, every row draws the same.
    order = np.array(random.sample(range(len(users)), len(users)))
    cut = random.randrange(len(users) + 1)
    for rows in (order, order[:cut], order[cut:]):
        again = negatives(users[rows], seen, seed, epoch, users[rows], positions[rows])
        np.testing.assert_array_equal(again, drawn[rows])


def test_negatives_differ_by_key():
    seen = seen_of([[1]], n_items=1000)
    users = np.ones(200, int)
    rows = np.arange(200)
    one = negatives(users, seen, 0, 1, rows)
    for other in (
        negatives(users, seen, 0, 2, rows),
        negatives(users, seen, 1, 1, rows),
    ):
        assert (one == other).mean() < 0.05


def test_negatives_are_uniform_over_the_unseen():
    seen = seen_of([[2, 5, 6], [1]], n_items=8)
    users = np.repeat([1, 2], 10_000)
    drawn = negatives(users, seen, 3, 0, np.arange(20_000))
    for user, unseen in ((1, [1, 3, 4, 7, 8]), (2, [2, 3, 4, 5, 6, 7, 8])):
        items, counts = np.unique(drawn[users == user], return_counts=True)
        assert items.tolist() == unseen
        assert stats.chisquare(counts).pvalue > 1e-3


def test_negatives_of_no_rows():
    seen = seen_of([[1]], n_items=2)
    assert negatives(np.zeros(0, int), seen, 0).tolist() == []


def test_user_who_has_seen_everything():
    seen = seen_of([[1], [1, 2, 3]], n_items=3)
    with pytest.raises(DataError, match="in 256 draws. Received: 2 rows.* all 3 items"):
        negatives(np.array([1, 2, 2]), seen, 0, np.arange(3))
