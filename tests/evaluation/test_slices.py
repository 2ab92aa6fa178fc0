import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.slices import Slices, tail_rows
from keras_sllmr.store.popularity import tail_items


def make(**changes):
    settings = {
        "users": np.array([1, 2, 3, 3]),
        "positives": np.array([1, 2, 3, 10]),
        "user_train_counts": np.array([0, 3, 4, 2]),
        "item_train_counts": np.array([0, 9, 1, 8, 7, 7, 7, 7, 7, 7, 1]),
    }
    return Slices(**{**settings, **changes})


def test_masks():
    slices = make()
    assert list(slices) == ["all", "cold", "tail"]
    assert len(slices) == 3
    assert slices["all"].tolist() == [True] * 4
    assert slices["cold"].tolist() == [True, False, True, True]
    assert slices["tail"].tolist() == [False, True, False, True]
    assert "at most 3 training interactions" in slices.rules["cold"]


def test_thresholds():
    assert make(cold_max_train=2)["cold"].tolist() == [False, False, True, True]
    assert make(tail_share=0.1)["tail"].tolist() == [False, True, False, False]


def test_an_empty_slice_is_named():
    with pytest.raises(DataError, match="'cold'.*none of 4.*at most 1 training"):
        make(cold_max_train=1)
    with pytest.raises(DataError, match="'tail'.*2 items"):
        make(positives=np.array([1, 3, 3, 4]))
    with pytest.raises(DataError, match="'all'.*none of 0"):
        make(users=np.zeros(0, int), positives=np.zeros(0, int))


def test_an_empty_slice_can_be_allowed():
    slices = make(cold_max_train=1, empty="none")
    assert not slices["cold"].any()
    tail = tail_items([0, 5, 0, 5, 5, 5], share=0.2)
    assert not tail_rows([1, 3], tail, empty="none").any()


def test_further_slices():
    mask = np.array([True, False, False, True])
    assert make(further={"mine": mask})["mine"] is mask
    with pytest.raises(DataError, match="'mine' must not be empty"):
        make(further={"mine": ~np.ones(4, bool)})
    for name in ("cold", "tail_rows"):
        with pytest.raises(ConfigError, match=f"'{name}' twice"):
            make(further={name: mask})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"users": [1, 2, 3, 4]}, DataError, "`users`.*1 to 3.*1 to 4"),
        ({"users": [1, 2, 3]}, DataError, "3 and 4"),
        ({"positives": [0, 1, 2, 3]}, DataError, "`positives`.*from 0 to 3"),
        ({"users": [1.0, 2.0, 3.0, 3.0]}, DataError, "integers"),
        ({"cold_max_train": -1}, ConfigError, "cold_max_train"),
        ({"tail_share": 1.0}, ConfigError, "between 0 and 1"),
    ],
)
def test_bad_input(changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


@pytest.mark.parametrize(
    ("items", "number"), [(12_101, 2_420), (18_357, 3_671), (11_924, 2_384)]
)
def test_tail_of_the_papers_catalogues(items, number):
    assert tail_items(np.zeros(items + 1, int), share=0.2).sum() == number


def test_tail_share_is_not_lost_to_rounding():
    assert tail_items(np.zeros(101, int), share=0.29).sum() == 29


def test_equal_counts_go_by_index():
    assert np.flatnonzero(tail_items([0, 2, 1, 2, 1, 1], share=0.4)).tolist() == [2, 4]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_tail_items_are_the_least_popular(counts, share):
    tail = tail_items([99, *counts], share=share)
    assert not tail[0]
    assert tail.sum() == int(share * len(counts) + 1e-9)
    counts = np.array([99, *counts])
    if tail.any():
        assert counts[tail].max() <= counts[1:][~tail[1:]].min()


def test_tail_items_bad_counts():
    for counts in ([0], [[0, 1]], [0, -1]):
        with pytest.raises(DataError, match="train_counts"):
            tail_items(counts)


def test_tail_rows():
    tail = tail_items([0, 5, 0, 5, 5, 5], share=0.2)
    assert tail_rows([2, 1, 5, 2], tail).tolist() == [True, False, False, True]
    with pytest.raises(DataError, match="'tail_rows'.*1 long-tail"):
        tail_rows([1, 3], tail)
    with pytest.raises(DataError, match="`items`"):
        tail_rows([0, 2], tail)
