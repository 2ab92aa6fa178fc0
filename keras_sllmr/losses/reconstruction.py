"""The reconstruction loss of LLM-CF: hidden states must hold the chains of thought."""

from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.losses.replicas import mean_over_replicas

#: squared length from which a vector has a direction.
_SHORTEST = 1e-12


def cosine_reconstruction(predicted: Any, target: Any, valid: Any) -> Any:
    r"""How far predicted vectors point away from their targets.

    \(\mathcal L = 1 - \frac{1}{|V|} \sum_{i \in V} \cos(\hat v_i, v_i)\) over the valid
    places V. A vector of zeros has cosine 0 with any other, and no gradient.

    Args:
        predicted: float `[..., d]`.
        target: float `[..., d]`.
        valid: bool `[...]`. Which places count; elsewhere the vectors may be NaN.

    Returns:
        float32 scalar in [0, 2]; 0 where no place is valid.

    Example:
        >>> predicted = tf.constant([[2.0, 0.0], [0.0, 1.0]])
        >>> target = tf.constant([[1.0, 0.0], [1.0, 0.0]])
        >>> float(cosine_reconstruction(predicted, target, tf.fill([2], True)))
        0.5

    Reference:
        Sun et al., "Large language models enhanced collaborative filtering", CIKM 2024.
    """
    valid = tf.convert_to_tensor(valid)
    cosine = tf.reduce_sum(_unit(predicted, valid) * _unit(target, valid), axis=-1)
    counted = tf.cast(valid, cosine.dtype)
    return mean_over_replicas(
        tf.reduce_sum((1 - cosine) * counted), tf.reduce_sum(counted)
    )


def _unit(x: Any, valid: Any) -> Any:
    """Vectors of length 1, or of zeros where not valid or too short."""
    x = tf.where(valid[..., tf.newaxis], tf.cast(x, tf.float32), 0.0)
    square = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
    pointing = square > _SHORTEST
    # Inside, too: a root's gradient at 0 is NaN even where another value is taken.
    return x * tf.where(pointing, tf.math.rsqrt(tf.where(pointing, square, 1.0)), 0.0)
