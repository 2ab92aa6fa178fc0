"""Experts: several perceptrons of one input, computed together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.seeds import spread_seed


@keras.utils.register_keras_serializable("keras_sllmr")
class Experts(keras.layers.Layer):
    r"""n independent perceptrons of the same input.

    \(h^k_0 = x,\quad h^k_{l+1} = \mathrm{dropout}(\mathrm{ReLU}(h^k_l W^k_l + b^k_l))\)
    for the experts \(k = 1 \dots n\). The kernels of a layer are one variable
    `[n, in, out]`.

    Args:
        n: int ≥ 1. How many experts.
        units: ints ≥ 1. Width of each layer. Defaults to `(128, 32)`.
        dropout: float in [0, 1). Share of each layer's units that is dropped in
            training. Defaults to `0.1`.
        seed: int or None. Of the initial kernels: Glorot uniform, each expert's by its
            own fans; biases start at zero. Defaults to `None`.

    Call arguments:
        inputs: float `[batch, t]`.

    Returns:
        float `[batch, n, units[-1]]`.

    Raises:
        ConfigError: when an argument is out of its range.

    Example:
        >>> Experts(3, units=(8, 4))(tf.ones([5, 6])).shape
        TensorShape([5, 3, 4])

    Reference:
        The experts of KAR's adaptor: Xi et al., "Towards open-world recommendation with
        knowledge augmentation from large language models", RecSys 2024.
    """

    def __init__(
        self,
        n: int,
        units: Sequence[int] = (128, 32),
        dropout: float = 0.1,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if n < 1 or not len(units) or min(units) < 1:
            raise ConfigError(
                "There must be one expert or more, of one layer or more, each of one "
                f"unit or more. Received: n={n}, units={tuple(units)}"
            )
        if not 0 <= dropout < 1:
            raise ConfigError(
                f"`dropout` must be in [0, 1). Received: dropout={dropout}"
            )
        self.n, self.units = n, tuple(units)
        self.dropout, self.seed = float(dropout), seed
        self._drop = keras.layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        """Makes the kernels and biases."""
        self.kernels, self.biases = [], []
        width = int(input_shape[-1])
        seeds = spread_seed(self.seed, len(self.units))
        for layer, (units, seed) in enumerate(zip(self.units, seeds, strict=True)):
            # Keras would take the experts for the places of a convolution.
            limit = float(np.sqrt(6 / (width + units)))
            self.kernels.append(
                self.add_weight(
                    name=f"kernel_{layer}",
                    shape=(self.n, width, units),
                    initializer=keras.initializers.RandomUniform(
                        -limit, limit, seed=seed
                    ),
                )
            )
            self.biases.append(
                self.add_weight(
                    name=f"bias_{layer}", shape=(self.n, units), initializer="zeros"
                )
            )
            width = units
        super().build(input_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """See the class."""
        x, product = inputs, "bi,nio->bno"
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = tf.nn.relu(tf.einsum(product, x, kernel) + bias)
            x, product = self._drop(x, training=training), "bni,nio->bno"
        return x

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "n": self.n,
            "units": self.units,
            "dropout": self.dropout,
            "seed": self.seed,
        }
