import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.scoring.diverse import attribute_vectors, farthest_first
from keras_sllmr.store.ragged import Ragged

# Directions at 0, 10, 90 and 50 degrees, an unknown item, and one at 180.
_ANGLES = np.deg2rad([0, 10, 90, 50, 0, 180])
VECTORS = np.zeros((7, 2), np.float32)
VECTORS[1:] = np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])
VECTORS[5] = 0


def picked(pool: list[int], many: int) -> list[int]:
    return farthest_first(np.array([pool]), VECTORS, many)[0].tolist()


def test_each_is_the_farthest_from_those_before() -> None:
    assert picked([1, 2, 3, 4, 6], 5) == [1, 6, 3, 4, 2]
    assert picked([2, 1, 4, 3], 3) == [2, 3, 4]


def test_unknown_items_come_last_and_padding_never() -> None:
    assert picked([5, 0, 1, 2], 4) == [1, 2, 5, 0]
    assert picked([0, 0], 3) == [0, 0, 0]
    assert picked([3], 2) == [3, 0]


def test_nothing_known_leaves_the_order() -> None:
    pool = np.array([[3, 0, 1, 2]])
    zeros = np.zeros((4, 1), np.float32)
    assert farthest_first(pool, zeros, 2).tolist() == [[3, 1]]


@settings(deadline=None)
@given(
    st.lists(
        st.permutations([0, 1, 2, 3, 4, 5, 6]), min_size=1, max_size=6, unique_by=tuple
    ),
    st.integers(0, 8),
)
def test_rows_do_not_touch_one_another(pools: list[list[int]], many: int) -> None:
    together = farthest_first(np.array(pools), VECTORS, many)
    assert together.tolist() == [picked(pool, many) for pool in pools]
    for row in together:
        known = row[row > 0]
        assert len(set(known)) == len(known) == min(many, 6)


def test_no_rows() -> None:
    assert farthest_first(np.zeros((0, 3), int), VECTORS, 2).shape == (0, 2)


def test_attribute_vectors_are_like_for_like_attributes() -> None:
    attributes = Ragged.from_rows([[], [1, 2], [2, 1], [1, 3], [4], []])
    vectors = attribute_vectors(attributes, 4, size=1024)
    assert vectors.dtype == np.float32 and vectors.shape == (6, 1024)
    cosine = vectors @ vectors.T
    np.testing.assert_allclose(np.diag(cosine), [0, 1, 1, 1, 1, 0], atol=1e-6)
    assert cosine[1, 2] > 0.999 and abs(cosine[1, 4]) < 1e-6
    # Of 5 items three have attribute 1, two attribute 2, one attribute 3.
    one, two, three = np.log1p(5 / np.array([3, 2, 1]))
    expected = one**2 / np.hypot(one, two) / np.hypot(one, three)
    np.testing.assert_allclose(cosine[1, 3], expected, rtol=1e-5)


def test_no_attributes_at_all() -> None:
    assert not attribute_vectors(Ragged.from_rows([[], [], []]), 0).any()
