from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import SIGNALS
from keras_sllmr.losses.pairs import score_gaps
from keras_sllmr.training.signals import (
    ITEM_SIGNALS,
    PAIR_SIGNALS,
    SignalTables,
    item_signals,
    pair_signals,
    split_signals,
)


def _never() -> Any:
    raise AssertionError("nobody asked for it")


@pytest.fixture
def block() -> dict[str, Any]:
    """One user with two items."""
    return {
        "score": tf.constant([[0.75, 0.5]]),
        "valid": tf.constant([[True, True]]),
        "signals": {
            "cold": tf.constant([[1.0, 1.0]]),
            "tail": tf.constant([[0.0, 1.0]]),
            "log_history": tf.constant([[0.25, 0.25]]),
            "log_popularity": tf.constant([[1.0, 0.25]]),
        },
    }


LOGITS = tf.constant([[3.0, 1.0]])


def _gaps(block: dict[str, Any]) -> Any:
    return score_gaps(block["score"], block["valid"])


def test_items(block: dict[str, Any]) -> None:
    z = item_signals(ITEM_SIGNALS, block, lambda: tf.constant([[0.5, 0.125]]))
    assert z.numpy().tolist() == [
        [[1.0, 0.0, 0.5, 0.25, 1.0], [1.0, 1.0, 0.125, 0.25, 0.25]]
    ]
    some = item_signals(("tail", "cold"), block, _never)
    assert some.numpy().tolist() == [[[0.0, 1.0], [1.0, 1.0]]]
    assert item_signals((), block, _never).shape == (1, 2, 0)


def test_items_of_a_users_own_signal(block: dict[str, Any]) -> None:
    block["signals"]["price"] = tf.constant([[3, 4]])
    assert item_signals(("price",), block, _never).numpy().tolist() == [[[3.0], [4.0]]]


def test_pairs(block: dict[str, Any]) -> None:
    r = pair_signals(PAIR_SIGNALS, block, LOGITS, _gaps(block)).numpy()
    assert r.shape == (1, 2, 2, 3)
    np.testing.assert_allclose(r[0, 0, 1], [0.25, 0.75, np.tanh(0.5)], rtol=1e-6)
    # The pair that the LLM does not order has no gap; the other two turn over.
    np.testing.assert_allclose(r[0, 1, 0], [0, -0.75, -np.tanh(0.5)], rtol=1e-6)
    np.testing.assert_array_equal(r[0, [0, 1], [0, 1]], np.zeros((2, 3)))
    (margin,) = pair_signals(("margin",), block, LOGITS, _gaps(block)).numpy()
    np.testing.assert_array_equal(margin[..., 0], r[0, ..., 2])


def test_no_pair_signal_is_none(block: dict[str, Any]) -> None:
    assert pair_signals((), block, LOGITS, _gaps(block)) is None


def test_bounded_however_sure_the_model_is(block: dict[str, Any]) -> None:
    far = tf.constant([[1e9, -1e9]])
    r = pair_signals(("margin",), block, far, _gaps(block))
    assert float(r[0, 0, 1, 0]) == 1


def test_no_gradient_reaches_the_model(block: dict[str, Any]) -> None:
    logits = tf.Variable(LOGITS)
    with tf.GradientTape() as tape:
        z = item_signals(("uncertainty",), block, lambda: logits * 1.0)
        r = pair_signals(("margin",), block, logits, _gaps(block))
        total = tf.reduce_sum(z) + tf.reduce_sum(r)
    assert tape.gradient(total, logits) is None


def test_names_are_split_in_their_order() -> None:
    assert split_signals(("margin", "tail", "price", "score_gap", "cold")) == (
        ("tail", "price", "cold"),
        ("margin", "score_gap"),
    )
    assert split_signals(SIGNALS) == (SIGNALS, ())
    assert split_signals((*ITEM_SIGNALS, *PAIR_SIGNALS)) == (ITEM_SIGNALS, PAIR_SIGNALS)


def test_unknown_names(block: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError,
        match="among cold, log_history, log_popularity, tail, uncertainty. "
        "Received: price, size",
    ):
        item_signals(("price", "cold", "size"), block, _never)
    with pytest.raises(
        ConfigError, match="among margin, popularity_gap, score_gap. Received: price"
    ):
        pair_signals(("price",), block, LOGITS, _gaps(block))


def test_a_block_without_popularity(block: dict[str, Any]) -> None:
    del block["signals"]["log_popularity"]
    with pytest.raises(ConfigError, match="among margin, score_gap. Received: popul"):
        pair_signals(("popularity_gap",), block, LOGITS, _gaps(block))


# What the store alone decides


@pytest.fixture
def tables(split_of: Any) -> Callable[..., SignalTables]:
    """User 1 has two training events, user 2 four; items 6 to 10 have none."""

    def make(**options: Any) -> SignalTables:
        split = split_of([[1, 2, 3, 4], [1, 2, 3, 5, 6, 7]], 10)
        return SignalTables(split, **options)

    return make


def test_tables(tables: Callable[..., SignalTables]) -> None:
    items = tf.constant([[5, 8, 0], [8, 9, 2]])
    signals = tables(cold_max=2, tail_share=0.4).of(tf.constant([1, 2]), items)
    assert signals["cold"].numpy().tolist() == [[1] * 3, [0] * 3]
    # The tail of four: 4 and 6 to 8, which nobody trained on and come first.
    assert signals["tail"].numpy().tolist() == [[0, 1, 0], [1, 0, 0]]
    most = np.log(5)  # the longest training history has four events
    expected = np.repeat([[np.log(3) / most], [1.0]], 3, axis=1)
    np.testing.assert_allclose(signals["log_history"], expected, rtol=1e-6)
    # Items 1 and 2 have two training events, 3 and 5 one; 8 to 10 and padding none.
    expected = np.array([[np.log(2) / np.log(3), 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(signals["log_popularity"], expected, rtol=1e-6)
    assert set(signals) == set(ITEM_SIGNALS) - {"uncertainty"}
    for values in signals.values():
        assert values.dtype == tf.float32 and values.shape == items.shape


def test_who_is_cold(tables: Callable[..., SignalTables]) -> None:
    for most, cold in ((1, [0, 0]), (2, [1, 0]), (4, [1, 1])):
        signals = tables(cold_max=most).of(
            tf.constant([1, 2]), tf.ones([2, 1], tf.int32)
        )
        assert signals["cold"].numpy().ravel().tolist() == cold
