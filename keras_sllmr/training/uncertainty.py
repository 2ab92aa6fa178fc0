"""Uncertainty of the model about a row, in [0, 1] and without a gradient."""

from typing import Any

from keras_sllmr.compat import tf


def entropy(logits: Any) -> Any:
    r"""Normalised predictive entropy, \(q = -(p \log_2 p + (1-p) \log_2 (1-p))\).

    Args:
        logits: float, any shape.

    Returns:
        float32 of the same shape, 1 where p = ½ and 0 where the model is certain.

    Reference:
        The paper's section 3.3.
    """
    logits = tf.cast(logits, tf.float32)
    # H(p) in nats = softplus(x) − x·σ(x), stable for large |x|.
    nats = tf.nn.softplus(logits) - logits * tf.sigmoid(logits)
    return tf.stop_gradient(tf.clip_by_value(nats / tf.math.log(2.0), 0.0, 1.0))
