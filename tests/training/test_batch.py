from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.training.batch import (
    as_block,
    block_rows,
    block_shape,
    is_block,
    join_blocks,
)


def _block(users: int, items: int, first: int = 0) -> dict[str, Any]:
    """Users of numbers from `first` on, with items of numbers from 10 · `first`."""
    numbers = first + tf.range(users)
    return {
        "user": {"history": tf.stack([numbers, -numbers], axis=1)},
        "item": {
            "item": 10 * first + tf.reshape(tf.range(users * items), [users, items]),
            "price": tf.ones([users, items, 2]),
        },
    }


def test_what_is_a_block() -> None:
    assert is_block(_block(2, 3))
    assert is_block({**_block(2, 3), "score": tf.zeros([2, 3])})
    assert is_block({"user": {}, "item": {"item": tf.zeros([2, 3])}})
    # Rows may have features of these names.
    assert not is_block({"user": tf.zeros(3), "item": tf.zeros(3)})
    assert not is_block({"item": tf.zeros(3)})


def test_shape() -> None:
    assert block_shape(_block(2, 3)) == (2, 3)

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def of_unknown(item: Any) -> Any:
        users, items = block_shape({"user": {}, "item": {"item": item}})
        assert items == 3
        return users

    assert int(of_unknown(tf.zeros([4, 3]))) == 4


def test_blocks_joined() -> None:
    user, item, rows = join_blocks([_block(2, 3, first=1), _block(1, 2, first=5)])
    np.testing.assert_array_equal(user["history"], [[1, -1], [2, -2], [5, -5]])
    np.testing.assert_array_equal(item["item"], [10, 11, 12, 13, 14, 15, 50, 51])
    assert item["price"].shape == (8, 2)
    np.testing.assert_array_equal(rows, [0, 0, 0, 1, 1, 1, 2, 2])


def test_blocks_joined_by_name() -> None:
    first, second = _block(1, 1, first=1), _block(1, 1, first=2)
    second["item"] = dict(reversed(second["item"].items()))
    _, item, _ = join_blocks([first, second])
    np.testing.assert_array_equal(item["item"], [10, 20])


def test_blocks_must_have_the_features_of_the_first() -> None:
    other = _block(1, 1)
    del other["item"]["price"]
    with pytest.raises(ConfigError, match="same item features.*without price"):
        join_blocks([_block(1, 1), other])


def test_rows_of_a_block() -> None:
    rows = block_rows({**_block(2, 3), "score": tf.zeros([2, 3])})
    assert set(rows) == {"history", "item", "price"}
    np.testing.assert_array_equal(rows["item"], np.arange(6))
    np.testing.assert_array_equal(rows["history"], [[0, 0]] * 3 + [[1, -1]] * 3)
    assert rows["price"].shape == (6, 2)


def test_plain_rows_are_a_block_of_one_item_a_user() -> None:
    rows = {"history": tf.reshape(tf.range(6), [3, 2]), "item": tf.range(3)}
    block = as_block(rows, ["item"])
    assert is_block(block) and block_shape(block) == (3, 1)
    assert set(block["user"]) == {"history"} and set(block["item"]) == {"item"}
    for name, values in block_rows(block).items():
        np.testing.assert_array_equal(values, rows[name])
    alone = as_block(rows, ["item", "history"])
    assert alone["user"] == {} and alone["item"]["history"].shape == (3, 1, 2)
    np.testing.assert_array_equal(block_rows(alone)["history"], rows["history"])


def test_a_block_stays_as_it_is() -> None:
    block = {**_block(2, 3), "score": tf.zeros([2, 3])}
    same = as_block(block, ["item"])
    assert set(same) == set(block)
    assert all(same[name] is block[name] for name in block)
