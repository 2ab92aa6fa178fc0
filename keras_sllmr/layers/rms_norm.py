"""Root-mean-square normalisation."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError


@keras.utils.register_keras_serializable("keras_sllmr")
class RMSNorm(keras.layers.Layer):
    r"""Scales each vector to a root mean square of 1, then by learned factors.

    \(y = \gamma \circ x \big/ \sqrt{\tfrac1d \sum_i x_i^2 + \epsilon}\), computed in
    single precision; \(\gamma\) starts at 1.

    Args:
        epsilon: float > 0. ε, on the scale of the inputs' squares. A vector of zeros
            stays one. Defaults to `1e-6`.

    Call arguments:
        inputs: float `[..., d]`.

    Returns:
        float `[..., d]`.

    Raises:
        ConfigError: if `epsilon` is not positive.

    Example:
        >>> RMSNorm()(tf.constant([[1.0, 7.0]])).numpy().round(4).tolist()
        [[0.20000000298023224, 1.399999976158142]]

    Reference:
        Zhang and Sennrich, "Root mean square layer normalization", NeurIPS 2019.
    """

    def __init__(self, epsilon: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not epsilon > 0:
            raise ConfigError(
                f"`epsilon` must be positive. Received: epsilon={epsilon}"
            )
        self.epsilon = float(epsilon)

    def build(self, input_shape: Any) -> None:
        """Makes γ."""
        self.scale = self.add_weight(
            name="scale", shape=(int(input_shape[-1]),), initializer="ones"
        )
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """See the class."""
        x = tf.cast(inputs, tf.float32)
        square = tf.reduce_mean(tf.square(x), axis=-1, keepdims=True)
        unit = x * tf.math.rsqrt(square + self.epsilon)
        return tf.cast(unit, inputs.dtype) * self.scale

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "epsilon": self.epsilon}
