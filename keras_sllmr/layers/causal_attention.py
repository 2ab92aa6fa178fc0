"""Self-attention that looks back only."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.project import project
from keras_sllmr.layers.rotary import rotary
from keras_sllmr.layers.seeds import spread_seed


@keras.utils.register_keras_serializable("keras_sllmr")
class CausalAttention(keras.layers.Layer):
    r"""Multi-head self-attention with rotary positions, without biases.

    In each head, with \(q_t = R_t W_q x_t\), \(k_s = R_s W_k x_s\), \(v_s = W_v x_s\)
    and the rotations R of `rotary`, \(y_t = \sum_{s \le t} a_{ts} v_s\) with
    \(a_t = \mathrm{softmax}_s(q_t^\top k_s / \sqrt{d})\); the heads' \(y_t\) side by
    side are multiplied by \(W_o\). The softmax is in single precision.

    Args:
        heads: int ≥ 1. Must divide the width into heads of an even width d. Defaults to
            `2`.
        seed: int or None. Of the initial weights, Glorot uniform. Defaults to `None`.

    Call arguments:
        inputs: float `[batch, T, width]`, finite wherever `valid` is False too.
        valid: bool `[batch, T]`, optional. Where False, a token is no key: it has no
            weight. Defaults to all.

    Returns:
        float `[batch, T, width]`; zeros for a token none of whose keys is allowed.

    Raises:
        ConfigError: when `heads` is below 1 or does not divide the width as above.

    Example:
        >>> CausalAttention(heads=2)(tf.ones([3, 5, 8])).shape
        TensorShape([3, 5, 8])

    Reference:
        Vaswani et al., "Attention is all you need", NeurIPS 2017, section 3.2.
    """

    def __init__(
        self, heads: int = 2, *, seed: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if heads < 1:
            raise ConfigError(f"`heads` must be at least 1. Received: heads={heads}")
        self.heads, self.seed = heads, seed

    def build(self, input_shape: Any) -> None:
        """Makes the four kernels."""
        width = int(input_shape[-1])
        if width % (2 * self.heads):
            raise ConfigError(
                "`heads` must divide the width into heads of an even width. Received: "
                f"heads={self.heads} and inputs of width {width}"
            )
        names = ("query", "key", "value", "out")
        self.query, self.key, self.value, self.out = (
            self.add_weight(
                name=name,
                shape=(width, width),
                initializer=keras.initializers.GlorotUniform(seed=seed),
            )
            for name, seed in zip(names, spread_seed(self.seed, 4), strict=True)
        )
        super().build(input_shape)

    def call(self, inputs: Any, valid: Any = None) -> Any:
        """See the class."""
        query = rotary(self._split(project(inputs, self.query)))
        key = rotary(self._split(project(inputs, self.key)))
        value = self._split(project(inputs, self.value))
        products = tf.matmul(query, key, transpose_b=True)
        scores = tf.cast(products, tf.float32) / query.shape[-1] ** 0.5
        length = tf.shape(inputs)[1]
        allowed = tf.range(length)[:, tf.newaxis] >= tf.range(length)
        if valid is not None:
            allowed &= valid[:, tf.newaxis, tf.newaxis, :]
        # A finite least score: a row of these alone is even, not NaN, before it is 0.
        weights = tf.nn.softmax(tf.where(allowed, scores, scores.dtype.min))
        weights = tf.where(allowed, weights, 0.0)
        heads = tf.matmul(tf.cast(weights, value.dtype), value)
        together = tf.transpose(heads, [0, 2, 1, 3])
        return project(tf.reshape(together, tf.shape(inputs)), self.out)

    def _split(self, x: Any) -> Any:
        """`[batch, T, width]` as `[batch, heads, T, d]`."""
        shape = tf.shape(x)
        width = x.shape[-1] // self.heads
        x = tf.reshape(x, [shape[0], shape[1], self.heads, width])
        return tf.transpose(x, [0, 2, 1, 3])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "heads": self.heads, "seed": self.seed}
