from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf

Call = Callable[..., Any]


def _output_and_gradients(
    call: Call, layer: Any, inputs: Sequence[Any]
) -> list[np.ndarray]:
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = call(layer, *inputs)
    upstream = np.random.default_rng(1).normal(size=out.shape)
    gradients = tape.gradient(
        out,
        [*inputs, *layer.trainable_weights],
        tf.constant(upstream, out.dtype),
        unconnected_gradients="zero",
    )
    return [tf.convert_to_tensor(value).numpy() for value in (out, *gradients)]


@pytest.fixture
def assert_same_layer() -> Callable[..., None]:
    """Compares two layers: outputs, all gradients, and the weights after the call.

    Both get the same random weights. `call` calls a layer on the inputs.
    """

    def check(
        ours: Any,
        theirs: Any,
        *inputs: Any,
        call: Call = lambda layer, *inputs: layer(*inputs),
    ) -> None:
        for layer in (ours, theirs):
            call(layer, *inputs)
        rng = np.random.default_rng(2)
        values = [rng.normal(0, 0.5, weight.shape) for weight in theirs.weights]
        for k, weight in enumerate(theirs.weights):
            if "moving_variance" in weight.name:
                values[k] = np.abs(values[k])
        for layer in (ours, theirs):
            layer.set_weights(values)
        found = _output_and_gradients(call, ours, inputs)
        expected = _output_and_gradients(call, theirs, inputs)
        for one, other in zip(found, expected, strict=True):
            # Some gradients are 0 but for rounding, as of a bias before a softmax.
            scale = max(np.abs(other).max(), 0.1)
            np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=2e-6)
        for one, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)

    return check
