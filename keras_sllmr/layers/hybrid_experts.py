"""KAR's hybrid-expert adaptor: own and shared experts, mixed by a gate."""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.experts import Experts
from keras_sllmr.layers.seeds import spread_seed


@keras.utils.register_keras_serializable("keras_sllmr")
class HybridExperts(keras.layers.Layer):
    r"""One tower of KAR's adaptor: a gated mixture of shared and own experts.

    \(y = \sum_k g_k(x)\, e_k(x)\) with \(g = \mathrm{softmax}(x W + b)\) over the
    shared experts, which come first, and the tower's own. The user's tower and the
    item's are two of these layers that share one `Experts` layer, which each tower
    calls on its own input.

    Args:
        n_specific: int ≥ 1. Experts of this tower. Defaults to `3`.
        units: ints ≥ 1. Width of each of their layers; the last is the shared experts'
            u too. Defaults to `(128, 32)`.
        dropout: float in [0, 1). As for `Experts`. Defaults to `0.1`.
        seed: int or None. Of the initial weights. Defaults to `None`.

    Call arguments:
        inputs: pair of the text vectors x, float `[batch, t]`, and what the shared
            experts make of them, float `[batch, n_shared, u]`.

    Returns:
        float `[batch, u]`.

    Raises:
        ConfigError: when an argument is out of its range, or when the shared experts
            are of another width.

    Example:
        >>> shared, user = Experts(2, units=(8, 4)), HybridExperts(units=(8, 4))
        >>> vectors = tf.ones([5, 6])
        >>> user([vectors, shared(vectors)]).shape
        TensorShape([5, 4])

    Reference:
        Xi et al., "Towards open-world recommendation with knowledge augmentation from
        large language models", RecSys 2024.
    """

    def __init__(
        self,
        n_specific: int = 3,
        units: Sequence[int] = (128, 32),
        dropout: float = 0.1,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if n_specific < 1:
            raise ConfigError(
                f"`n_specific` must be at least 1. Received: n_specific={n_specific}"
            )
        self.n_specific, self.seed = n_specific, seed
        of_experts, self._gate_seed = spread_seed(seed, 2)
        self.experts = Experts(
            n_specific, units, dropout, seed=of_experts, dtype=self.dtype_policy
        )

    def build(self, input_shape: Any) -> None:
        """Makes the gate and the experts."""
        vectors, shared = input_shape
        units = self.experts.units[-1]
        if shared[-1] != units:
            raise ConfigError(
                "The shared experts must be as wide as the tower's own. Received: "
                f"shared of shape {list(shared)} and units={self.experts.units}. Make "
                "`Experts` with the same `units`."
            )
        count = int(shared[1]) + self.n_specific
        self.gate_kernel = self.add_weight(
            name="gate_kernel",
            shape=(int(vectors[-1]), count),
            initializer=keras.initializers.GlorotUniform(seed=self._gate_seed),
        )
        self.gate_bias = self.add_weight(
            name="gate_bias", shape=(count,), initializer="zeros"
        )
        self.experts.build(vectors)
        super().build(input_shape)

    def call(self, inputs: Any, training: Any = None) -> Any:
        """See the class."""
        x, shared = inputs
        logits = tf.matmul(x, self.gate_kernel) + self.gate_bias
        gate = tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), x.dtype)
        experts = tf.concat([shared, self.experts(x, training=training)], axis=1)
        return tf.einsum("bn,bnu->bu", gate, experts)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "n_specific": self.n_specific,
            "units": self.experts.units,
            "dropout": self.experts.dropout,
            "seed": self.seed,
        }
