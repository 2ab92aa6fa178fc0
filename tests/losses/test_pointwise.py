from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.pointwise import PointwiseMSE
from keras_sllmr.losses.regularizer import BlockGate


def test_hand_computed() -> None:
    logits = tf.constant([[0.0, np.log(3.0)], [5.0, 0.0]], tf.float32)
    scores = tf.constant([[0.9, 0.25], [0.5, 0.1]])
    valid = tf.constant([[True, True], [False, True]])
    # Probabilities ½ and ¾, and ½: errors −0.4, ½ and 0.4.
    loss = PointwiseMSE()
    assert float(loss(logits, scores, valid)) == pytest.approx(0.57 / 3, rel=1e-6)
    total, count = loss.terms(logits, {"score": scores, "valid": valid})
    assert (float(total), float(count)) == pytest.approx((0.57, 3), rel=1e-6)


def test_a_missing_score_may_be_anything() -> None:
    logits = tf.Variable([[1.0, 2.0, -1.0]])
    scores = tf.constant([[0.5, np.nan, np.inf]])
    with tf.GradientTape() as tape:
        loss = PointwiseMSE()(logits, scores, tf.constant([[True, False, False]]))
    assert np.isfinite(loss)
    gradient = tape.gradient(loss, logits)[0]
    assert gradient[0] > 0
    np.testing.assert_array_equal(gradient[1:], [0, 0])


def test_no_score_costs_nothing() -> None:
    zeros = tf.zeros([2, 3])
    assert float(PointwiseMSE()(zeros, zeros, tf.fill([2, 3], False))) == 0


def test_the_gate_is_not_asked() -> None:
    def asked(gaps: Any) -> Any:
        raise AssertionError

    zeros = tf.zeros([1, 2])
    block = {"score": zeros, "valid": tf.fill([1, 2], True)}
    PointwiseMSE().terms(zeros, block, BlockGate(asked, asked))


def test_config_round_trip() -> None:
    twin = keras.utils.deserialize_keras_object(
        keras.utils.serialize_keras_object(PointwiseMSE())
    )
    assert isinstance(twin, PointwiseMSE)
