import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.training.batch import block_rows, join_rows


def test_block_rows() -> None:
    features = {
        "item": tf.reshape(tf.range(6), [2, 3]),
        "history": tf.reshape(tf.range(24), [2, 3, 4]),
    }
    rows = block_rows({"features": features, "score": tf.zeros([2, 3])})
    assert set(rows) == {"item", "history"}
    np.testing.assert_array_equal(rows["item"], np.arange(6))
    np.testing.assert_array_equal(rows["history"], np.arange(24).reshape(6, 4))


def test_join_rows() -> None:
    first = {"x": tf.constant([1, 2]), "y": tf.constant([[1.0], [2.0]])}
    second = {"y": tf.constant([[3.0]]), "x": tf.constant([3])}
    joined = join_rows([first, second])
    np.testing.assert_array_equal(joined["x"], [1, 2, 3])
    np.testing.assert_array_equal(joined["y"], [[1], [2], [3]])


def test_one_part_is_passed_on() -> None:
    rows = {"x": np.ones(3)}
    assert join_rows([rows]) is rows


def test_parts_must_have_the_features_of_the_first() -> None:
    with pytest.raises(KeyError, match="y"):
        join_rows([{"x": tf.zeros(1), "y": tf.zeros(1)}, {"x": tf.zeros(1)}])
