import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.popularity import tail_items


def tail(counts, **options):
    return np.flatnonzero(tail_items(counts, **options)).tolist()


def test_by_hand():
    counts = [0, 9, 0, 2, 2, 7, 2, 1, 5, 6, 8]
    assert tail(counts) == [2, 7]
    # Of items with 2 the lower index comes first.
    assert tail(counts, share=0.3) == [2, 3, 7]
    assert tail(counts, share=0.4) == [2, 3, 4, 7]


@pytest.mark.parametrize(
    ("items", "share", "number"),
    [(10, 0.2, 2), (9, 0.2, 1), (4, 0.2, 0), (100, 0.29, 29), (12101, 0.2, 2420)],
)
def test_exactly_floor_of_the_share(items, share, number):
    assert len(tail(np.zeros(items + 1), share=share)) == number


def test_padding_is_no_item():
    assert tail([0, 5, 5, 5], share=0.5) == [1]
    assert tail([7, 5, 5, 5], share=0.99) == [1, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.floats(0.01, 0.99))
def test_tail_is_never_more_popular_than_the_head(counts, share):
    chosen = tail_items([0, *counts], share=share)[1:]
    popularity = np.array(counts)
    if chosen.any() and not chosen.all():
        assert popularity[chosen].max() <= popularity[~chosen].min()


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_share_out_of_range(share):
    with pytest.raises(ConfigError, match="`share` must be between 0 and 1. Received"):
        tail_items([0, 1, 2], share=share)


@pytest.mark.parametrize("counts", [[], [0], [[0, 1]], [0, -1], 3])
def test_counts_that_are_none(counts):
    with pytest.raises(DataError, match=r"`train_counts` must have shape \[items"):
        tail_items(counts)
