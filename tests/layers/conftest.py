from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf


def _output_and_gradients(
    layer: Any, inputs: Any, upstream: Any, **options: Any
) -> list[Any]:
    given = tf.nest.flatten(inputs)
    watched = [one for one in given if one.dtype.is_floating]
    with tf.GradientTape() as tape:
        tape.watch(watched)
        out = layer(inputs, **options)
    if upstream is None:
        upstream = np.random.default_rng(1).normal(size=out.shape)
    gradients = tape.gradient(
        out,
        [*watched, *layer.trainable_weights],
        tf.constant(upstream, out.dtype),
        unconnected_gradients="zero",
    )
    return [tf.convert_to_tensor(value).numpy() for value in (out, *gradients)]


@pytest.fixture
def assert_same_layer() -> Callable[..., None]:
    """Compares outputs and gradients of two layers with the same random weights."""

    def check(ours: Any, theirs: Any, inputs: Any, **options: Any) -> None:
        for layer in (ours, theirs):
            layer(inputs, **{**options, **_untrained(options)})
        assert [w.shape for w in ours.weights] == [w.shape for w in theirs.weights]
        rng = np.random.default_rng(2)
        values = [
            np.abs(value) if "variance" in weight.name else value
            for weight in theirs.weights
            for value in [rng.normal(0, 0.5, weight.shape)]
        ]
        for layer in (ours, theirs):
            layer.set_weights(values)
        found = _output_and_gradients(ours, inputs, None, **options)
        expected = _output_and_gradients(theirs, inputs, None, **options)
        for one, other in zip(found, expected, strict=True):
            scale = max(np.abs(other).max(), 1e-3)
            np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=2e-6)
        for one, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)

    return check


def _untrained(options: dict[str, Any]) -> dict[str, Any]:
    return {"training": False} if "training" in options else {}
