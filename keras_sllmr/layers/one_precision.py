"""DeepCTR's layers that hold others, each in one precision throughout."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_sllmr.compat import deepctr_layers, keras
from keras_sllmr.layers.zero_penalty import NoZeroPenalty


class OnePrecision(keras.layers.Layer):
    """Mixin of a layer that makes others when it is built: they share its precision.

    DeepCTR makes them in Keras's global precision. So a model that was trained in mixed
    precision could not be loaded by a process that runs in another.
    """

    def build(self, input_shape: Any) -> None:
        """Makes the weights and the inner layers."""
        with _global(self.dtype_policy):
            super().build(input_shape)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the layer."""
        # Inner layers may be built, and make layers of their own, in the first call.
        with _global(self.dtype_policy):
            return super().__call__(*args, **kwargs)


@contextmanager
def _global(policy: Any) -> Iterator[None]:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)


@keras.utils.register_keras_serializable("keras_sllmr")
class DNN(NoZeroPenalty, OnePrecision, deepctr_layers.DNN):
    """The perceptron; see `deepctr.layers.DNN` for the arguments.

    Example:
        >>> layer = DNN([3, 2], dtype="mixed_bfloat16")
        >>> layer(keras.Input((4,))).dtype.name
        'bfloat16'
    """
