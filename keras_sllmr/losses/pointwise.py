"""The pointwise regulariser of the paper's ablation: imitate the LLM's scores."""

from collections.abc import Mapping
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.regularizer import BlockGate, Regularizer
from keras_sllmr.losses.replicas import mean_over_replicas


@keras.utils.register_keras_serializable("keras_sllmr")
class PointwiseMSE(Regularizer):
    r"""Squared error of the model's probability against the LLM's score.

    \(\mathcal L = \frac{1}{|V|} \sum_{i \in V} (\sigma(s_i) - s^{LLM}_i)^2\) over the
    items V that have a score. It is not gated.

    Example:
        >>> loss = PointwiseMSE()
        >>> logits, scores = tf.constant([[0.0, 0.0]]), tf.constant([[0.9, 0.5]])
        >>> round(float(loss(logits, scores, tf.constant([[True, True]]))), 4)
        0.08

    Reference:
        The paper's section 5.3 and Table 3, "LLM Pointwise MSE".
    """

    def __call__(self, logits: Any, scores: Any, valid: Any) -> Any:
        """Loss of a block of users.

        Args:
            logits: float `[users, C]`. The model's scores.
            scores: float `[users, C]`. The LLM's scores in [0, 1].
            valid: bool `[users, C]`. Which scores exist.

        Returns:
            Scalar; 0 where there is no score.
        """
        block = {"score": scores, "valid": valid}
        return mean_over_replicas(*self.terms(logits, block))

    def terms(
        self, logits: Any, block: Mapping[str, Any], gate: BlockGate | None = None
    ) -> tuple[Any, Any]:
        """The sum over the block's items and their number, see `Regularizer.terms`."""
        valid = block["valid"]
        # Not a product with the mask: a missing score may be NaN.
        error = tf.where(valid, tf.sigmoid(logits) - block["score"], 0.0)
        count = tf.reduce_sum(tf.cast(valid, logits.dtype))
        return tf.reduce_sum(tf.square(error)), count
