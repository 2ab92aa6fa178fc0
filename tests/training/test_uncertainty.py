import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.training.uncertainty import entropy


def test_hand_computed() -> None:
    logit = np.log(3)  # p = 3/4
    expected = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    np.testing.assert_allclose(entropy([0.0, logit]), [1, expected], rtol=1e-6)


def test_symmetric_and_falling_with_distance() -> None:
    logits = np.linspace(0, 30, 61, dtype=np.float32)
    values = entropy(logits).numpy()
    np.testing.assert_allclose(values, entropy(-logits), atol=1e-5)
    assert (np.diff(values) < 1e-5).all() and values[-1] < 1e-5


@pytest.mark.parametrize("logit", [1e4, -1e4, 1e30, -1e30])
def test_far_out_is_zero_and_not_nan(logit: float) -> None:
    assert float(entropy(logit)) == 0


def test_no_gradient() -> None:
    logits = tf.Variable([0.5, -2.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(entropy(logits))
    assert tape.gradient(total, logits) is None


def test_half_precision_gives_full() -> None:
    values = entropy(tf.constant([[0.0, 9.0]], tf.float16))
    assert values.dtype == tf.float32 and values.shape == (1, 2)
