from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.attention_pooling import AttentionPooling
from keras_sllmr.layers.cin import CIN
from keras_sllmr.layers.cross_net import CrossNetMix
from keras_sllmr.layers.one_precision import DNN


@pytest.fixture(autouse=True)
def policy() -> Iterator[Callable[[Any], None]]:
    """Sets the global precision for a test."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def _attention(**options: Any) -> Any:
    return AttentionPooling((4, 3), "dice", **options)


CASES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "DNN": (lambda **o: DNN([4, 3], "dice", 0.0, 0.5, use_bn=True, **o), [(5, 6)]),
    "CrossNetMix": (lambda **o: CrossNetMix(2, 2, **o), [(5, 6)]),
    "CIN": (lambda **o: CIN([4, 4], **o), [(5, 3, 6)]),
    "AttentionPooling": (_attention, [(5, 1, 6), (5, 7, 6), (5, 1)]),
}


def _inputs(name: str) -> Any:
    rng = np.random.default_rng(0)
    inputs = [tf.constant(rng.normal(size=s), tf.float32) for s in CASES[name][1]]
    if len(inputs) == 3:
        inputs[2] = tf.constant(rng.integers(1, 8, (5, 1)))
    return inputs if len(inputs) > 1 else inputs[0]


@pytest.mark.parametrize("name", CASES)
def test_inner_layers_share_the_layers_precision(
    name: str, policy: Callable[[Any], None]
) -> None:
    """Whatever the global one is when it is made and when it is called."""
    make, _ = CASES[name]
    policy("mixed_bfloat16")
    layer = make()
    config = layer.get_config()
    policy("float32")
    for one in (layer, type(layer).from_config(config)):
        assert one(_inputs(name)).dtype == tf.bfloat16
        policies = {
            inner.dtype_policy.name for inner in one.submodules if inner.weights
        }
        assert policies <= {"mixed_bfloat16"}
        assert {weight.dtype for weight in one.weights} == {tf.float32}
    assert keras.mixed_precision.global_policy().name == "float32"


@pytest.mark.parametrize("name", CASES)
def test_a_float32_layer_in_a_mixed_model(
    name: str, policy: Callable[[Any], None]
) -> None:
    make, _ = CASES[name]
    expected = make(dtype="float32")
    reference = expected(_inputs(name))
    policy("mixed_bfloat16")
    layer = make(dtype="float32")
    out = layer(_inputs(name))
    layer.set_weights(expected.get_weights())
    assert out.dtype == tf.float32
    np.testing.assert_array_equal(layer(_inputs(name)), reference)
    assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"


def test_an_error_leaves_the_global_precision_alone() -> None:
    with pytest.raises(ValueError, match="2 dimensions"):
        CrossNetMix(dtype="mixed_bfloat16")(tf.ones([2, 3, 4]))
    assert keras.mixed_precision.global_policy().name == "float32"
