import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.bpr import BPR
from keras_sllmr.losses.info_nce import InfoNCE

Y_TRUE = tf.constant([[1, 0, 0], [0, 1, 0]])
Y_PRED = tf.constant([[2.0, 1.0, 3.0], [0.0, 0.5, -0.5]])


def test_hand_computed() -> None:
    expected = [
        -np.log(np.exp(2) / (np.exp(2) + np.exp(1) + np.exp(3))),
        -np.log(np.exp(0.5) / (1 + np.exp(0.5) + np.exp(-0.5))),
    ]
    np.testing.assert_allclose(InfoNCE().call(Y_TRUE, Y_PRED), expected, rtol=1e-6)
    loss = float(InfoNCE()(Y_TRUE, Y_PRED))
    assert loss == pytest.approx(np.mean(expected), rel=1e-6)


def test_temperature_divides_the_logits() -> None:
    cold = InfoNCE(temperature=0.5).call(Y_TRUE, Y_PRED)
    np.testing.assert_allclose(cold, InfoNCE().call(Y_TRUE, 2 * Y_PRED), rtol=1e-6)


def test_with_one_negative_it_is_bpr() -> None:
    two = Y_TRUE[:, :2], Y_PRED[:, :2]
    np.testing.assert_allclose(InfoNCE().call(*two), BPR().call(*two), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_wrong_temperature(temperature: float) -> None:
    with pytest.raises(ConfigError, match="`temperature` must be positive and finite"):
        InfoNCE(temperature)
