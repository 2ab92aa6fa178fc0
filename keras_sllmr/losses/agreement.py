"""Supervision of the gate by whether the LLM orders a known pair rightly."""

from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.losses.replicas import mean_over_replicas


def agreement_loss(evidence: Any, gaps: Any, labels: Any) -> Any:
    r"""Cross-entropy of the gate's belief on pairs of a positive and a negative.

    For the pairs (i, j) that the LLM orders (\(g_{ij} > 0\)) and whose labels differ,
    \(-y_{ij} \log p_{ij} - (1-y_{ij}) \log(1-p_{ij})\), where \(y_{ij} = 1\) when i is
    the positive; averaged over them, 0 where there are none.

    Args:
        evidence: float `[..., C, C]`. Log-odds of p.
        gaps: float `[..., C, C]`. From `score_gaps`.
        labels: int `[..., C]`. 1 positive, 0 negative, −1 unknown.

    Returns:
        Scalar.
    """
    positive = labels == 1
    negative = labels == 0
    right = positive[..., :, None] & negative[..., None, :]
    wrong = negative[..., :, None] & positive[..., None, :]
    ordered = gaps > 0
    known = tf.cast((right | wrong) & ordered, evidence.dtype)
    loss = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(right, evidence.dtype), logits=evidence
    )
    return mean_over_replicas(tf.reduce_sum(loss * known), tf.reduce_sum(known))
