"""The pairwise regulariser: order a user's items as the LLM does."""

from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError


def score_gaps(scores: Any, valid: Any) -> Any:
    """How much higher the LLM scores i than j: `[..., C, C]`, 0 where no pair is.

    Args:
        scores: float `[..., C]`. LLM scores of one user's items.
        valid: bool `[..., C]`. Which scores exist.
    """
    gaps = scores[..., :, None] - scores[..., None, :]
    both = valid[..., :, None] & valid[..., None, :]
    return tf.where(both, tf.nn.relu(gaps), tf.zeros_like(gaps))


@keras.utils.register_keras_serializable("keras_sllmr")
class PairwiseHinge:
    r"""Gated hinge over the pairs that the LLM orders, averaged over them.

    \(\mathcal L = \frac{1}{|P|}\sum_{(i,j) \in P} \alpha_{ij}
    \max(0, m - (s_i - s_j))\) with \(P = \{(i,j): s^{LLM}_i > s^{LLM}_j\}\)

    The mean is over the pairs of the batch, so that λ means the same at every batch
    size; a batch without a pair costs 0.

    Args:
        margin: float > 0. m, on the scale of the logits. Defaults to `0.5`.

    Raises:
        ConfigError: if `margin` is not positive.

    Example:
        >>> gaps = score_gaps(tf.constant([[0.9, 0.1]]), tf.constant([[True, True]]))
        >>> float(PairwiseHinge(margin=1.0)(tf.constant([[0.2, 0.0]]), gaps, 1.0))
        0.800000011920929

    Reference:
        The paper's section 3.2.
    """

    def __init__(self, margin: float = 0.5) -> None:
        if not margin > 0:
            raise ConfigError(f"`margin` must be positive. Received: margin={margin}")
        self.margin = float(margin)

    def __call__(self, logits: Any, gaps: Any, alpha: Any) -> Any:
        """Loss of a block of users.

        Args:
            logits: float `[users, C]`. The model's scores.
            gaps: float `[users, C, C]`. From `score_gaps`.
            alpha: float, broadcasts to `gaps`. Gate of each pair.

        Returns:
            Scalar.
        """
        margins = logits[..., :, None] - logits[..., None, :]
        pairs = tf.cast(gaps > 0, logits.dtype)
        loss = pairs * alpha * tf.nn.relu(self.margin - margins)
        return tf.math.divide_no_nan(tf.reduce_sum(loss), tf.reduce_sum(pairs))

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {"margin": self.margin}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "PairwiseHinge":
        """Rebuilds the loss."""
        return cls(**config)
