import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.store.ragged import Ragged

LISTS = st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6), max_size=8)


def test_by_hand():
    rows = Ragged.from_rows([[], [7, 8], [], [9], []])
    assert rows.values.tolist() == [7, 8, 9]
    assert rows.offsets.tolist() == [0, 0, 2, 2, 3, 3]
    assert len(rows) == 5
    assert rows.lengths.tolist() == [0, 2, 0, 1, 0]
    assert [rows.row(i).tolist() for i in range(5)] == [[], [7, 8], [], [9], []]
    assert rows.row_of_value().tolist() == [1, 1, 3]
    assert rows.padded(2).tolist() == [[0, 0], [7, 8], [0, 0], [9, 0], [0, 0]]


def test_padded_cuts_and_fills():
    rows = Ragged.from_rows([[1, 2, 3], [4]])
    assert rows.padded(1).tolist() == [[1], [4]]
    assert rows.padded(4).tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]
    assert rows.padded(0).shape == (2, 0)
    assert rows.padded(2).dtype == np.int32


@pytest.mark.parametrize("rows", [[], [[]], [[], [], []]])
def test_without_values(rows):
    packed = Ragged.from_rows(rows)
    assert len(packed) == len(rows)
    assert packed.lengths.tolist() == [0] * len(rows)
    assert packed.row_of_value().tolist() == []
    assert packed.padded(3).tolist() == [[0, 0, 0]] * len(rows)
    assert packed.values.dtype == packed.offsets.dtype == np.int64


@given(LISTS, st.integers(0, 8))
def test_says_what_the_lists_say(rows, width):
    packed = Ragged.from_rows(rows)
    assert [packed.row(i).tolist() for i in range(len(packed))] == rows
    assert packed.lengths.tolist() == [len(row) for row in rows]
    filled = [(row + [0] * width)[:width] for row in rows]
    assert packed.padded(width).tolist() == filled
    owners = [i for i, row in enumerate(rows) for _ in row]
    assert packed.row_of_value().tolist() == owners
