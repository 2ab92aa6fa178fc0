import numpy as np

from keras_sllmr.scoring.encoders.base import by_length, unit_rows


def test_the_shortest_first_and_no_blank_ones() -> None:
    assert by_length(["abc", " ", "b", "", "ab", "a"]) == [2, 5, 4, 0]


def test_unit_rows_of_huge_tiny_and_zero_vectors() -> None:
    rows = np.array([[3e38, 3e38], [1e-30, 0], [0, 0], [0, -2]], np.float32)
    half = np.sqrt(0.5)
    units = unit_rows(rows)
    assert units.dtype == np.float32
    np.testing.assert_allclose(
        units, [[half, half], [1, 0], [0, 0], [0, -1]], rtol=1e-6
    )
