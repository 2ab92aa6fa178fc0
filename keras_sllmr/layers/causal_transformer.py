"""The decoder of LLM-CF: what in-context examples say of what follows them."""

from typing import Any

from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.causal_attention import CausalAttention
from keras_sllmr.layers.rms_norm import RMSNorm
from keras_sllmr.layers.seeds import spread_seed
from keras_sllmr.layers.swiglu import SwiGLU


@keras.utils.register_keras_serializable("keras_sllmr")
class CausalTransformer(keras.layers.Layer):
    r"""Pre-norm transformer of tokens that look back only.

    Each block adds \(x \mathrel{+}= \mathrm{Attention}(\mathrm{RMSNorm}(x))\) and then
    \(x \mathrel{+}= \mathrm{SwiGLU}(\mathrm{RMSNorm}(x))\); a last RMSNorm follows.

    Args:
        blocks: int ≥ 1. Defaults to `2`.
        heads: int ≥ 1. As for `CausalAttention`. Defaults to `2`.
        hidden: int ≥ 1. As for `SwiGLU`. Defaults to `64`.
        seed: int or None. Of the initial weights. Defaults to `None`.

    Call arguments:
        inputs: float `[batch, T, width]`, finite wherever `valid` is False too.
        valid: bool `[batch, T]`, optional. Where False, other tokens do not see the
            token; its own state means nothing. Defaults to all.

    Returns:
        Hidden states, float `[batch, T, width]`.

    Raises:
        ConfigError: when an argument is below 1, or the width does not suit the heads.

    Example:
        >>> CausalTransformer()(keras.Input((13, 32))).shape
        TensorShape([None, 13, 32])

    Reference:
        Sun et al., "Large language models enhanced collaborative filtering", CIKM 2024.
    """

    def __init__(
        self,
        blocks: int = 2,
        heads: int = 2,
        hidden: int = 64,
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if blocks < 1:
            raise ConfigError(f"`blocks` must be at least 1. Received: blocks={blocks}")
        self.blocks, self.heads, self.hidden = blocks, heads, hidden
        self.seed = seed
        # In this layer's precision, not in the process's.
        policy = self.dtype_policy
        seeds = spread_seed(seed, 2 * blocks)
        self.attentions = [
            CausalAttention(heads, seed=one, dtype=policy) for one in seeds[:blocks]
        ]
        self.feeds = [SwiGLU(hidden, seed=one, dtype=policy) for one in seeds[blocks:]]
        self.norms = [RMSNorm(dtype=policy) for _ in range(2 * blocks + 1)]

    def build(self, input_shape: Any) -> None:
        """Makes the weights of all blocks."""
        for layers in (self.attentions, self.feeds, self.norms):
            for layer in layers:
                layer.build(input_shape)
        super().build(input_shape)

    def call(self, inputs: Any, valid: Any = None) -> Any:
        """See the class."""
        x = inputs
        for block in range(self.blocks):
            attention, feed = self.attentions[block], self.feeds[block]
            x += attention(self.norms[2 * block](x), valid=valid)
            x += feed(self.norms[2 * block + 1](x))
        return self.norms[-1](x)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "blocks": self.blocks,
            "heads": self.heads,
            "hidden": self.hidden,
            "seed": self.seed,
        }
