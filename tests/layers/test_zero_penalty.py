import numpy as np
import pytest

from keras_sllmr.compat import deepctr_layers, tf
from keras_sllmr.layers.cin import CIN
from keras_sllmr.layers.cross_net import CrossNet, CrossNetMix
from keras_sllmr.layers.one_precision import DNN

CASES = {
    "DNN": (DNN, {"hidden_units": [3, 2]}, (2, 4)),
    "CIN": (CIN, {"layer_size": [4, 2]}, (2, 3, 4)),
    "CrossNet": (CrossNet, {"layer_num": 2}, (2, 4)),
    "CrossNetMix": (CrossNetMix, {"layer_num": 2}, (2, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_only_a_positive_strength_is_a_loss(name: str) -> None:
    kind, arguments, shape = CASES[name]
    x = tf.ones(shape)
    free = kind(**arguments, l2_reg=0.0)
    free(x)
    assert free.losses == []
    theirs = getattr(deepctr_layers, name)
    ours, twin = (one(**arguments, l2_reg=0.5) for one in (kind, theirs))
    ours(x)
    twin(x)
    twin.set_weights(ours.get_weights())
    np.testing.assert_allclose(sum(ours.losses), sum(twin.losses), rtol=1e-6)
    assert sum(ours.losses) > 0
