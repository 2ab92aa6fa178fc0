import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.bpr import BPR


def test_hand_computed() -> None:
    y_true = tf.constant([[1, 0, 0], [0, 1, 0]])
    y_pred = tf.constant([[2.0, 1.0, 3.0], [0.0, 0.5, -0.5]])
    # −log σ(lead) = log(1 + e^−lead), of leads 1 and −1, and of ½ and 1.
    expected = [
        (np.log1p(np.exp(-1)) + np.log1p(np.exp(1))) / 2,
        (np.log1p(np.exp(-0.5)) + np.log1p(np.exp(-1))) / 2,
    ]
    np.testing.assert_allclose(BPR().call(y_true, y_pred), expected, rtol=1e-6)
    assert float(BPR()(y_true, y_pred)) == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_mean_over_negatives_does_not_depend_on_their_number() -> None:
    one = BPR()(tf.constant([[1.0, 0.0]]), tf.constant([[1.0, 0.0]]))
    nine = BPR()(tf.constant([[1.0] + 9 * [0.0]]), tf.constant([[1.0] + 9 * [0.0]]))
    assert float(one) == pytest.approx(float(nine), rel=1e-6)


def test_the_sum_over_groups() -> None:
    y_true, y_pred = tf.constant([[1.0, 0.0]] * 3), tf.zeros([3, 2])
    total = BPR(reduction=keras.losses.Reduction.SUM)(y_true, y_pred)
    assert float(total) == pytest.approx(3 * np.log(2), rel=1e-6)
