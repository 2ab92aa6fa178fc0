"""The gated feed-forward layer of a transformer."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.project import project
from keras_sllmr.layers.seeds import spread_seed


@keras.utils.register_keras_serializable("keras_sllmr")
class SwiGLU(keras.layers.Layer):
    r"""Feed-forward layer with a gate of the same width, without biases.

    \(y = \big(\mathrm{swish}(x W_g) \circ x W_u\big) W_d\) with
    \(\mathrm{swish}(x) = x\,\sigma(x)\).

    Args:
        hidden: int ≥ 1. Width between. Defaults to `64`.
        seed: int or None. Of the initial weights, Glorot uniform. Defaults to `None`.

    Call arguments:
        inputs: float `[..., d]`.

    Returns:
        float `[..., d]`.

    Raises:
        ConfigError: if `hidden` is below 1.

    Example:
        >>> SwiGLU(hidden=8)(tf.ones([2, 5, 4])).shape
        TensorShape([2, 5, 4])

    Reference:
        Shazeer, "GLU variants improve transformer", 2020.
    """

    def __init__(
        self, hidden: int = 64, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if hidden < 1:
            raise ConfigError(f"`hidden` must be at least 1. Received: hidden={hidden}")
        self.hidden, self.seed = hidden, seed

    def build(self, input_shape: Any) -> None:
        """Makes the three kernels."""
        width, hidden = int(input_shape[-1]), self.hidden
        shapes = {"gate": (width, hidden), "up": (width, hidden)}
        shapes["down"] = (hidden, width)
        seeds = spread_seed(self.seed, len(shapes))
        self.gate, self.up, self.down = (
            self.add_weight(
                name=name,
                shape=shape,
                initializer=keras.initializers.GlorotUniform(seed=seed),
            )
            for (name, shape), seed in zip(shapes.items(), seeds, strict=True)
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """See the class."""
        gate = tf.nn.silu(project(inputs, self.gate))
        return project(gate * project(inputs, self.up), self.down)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "hidden": self.hidden, "seed": self.seed}
