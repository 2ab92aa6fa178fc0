"""Rotary position embedding: positions as angles of queries and keys."""

from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError


def rotary(x: Any, base: float = 10000.0) -> Any:
    r"""Rotates each vector by angles that grow with its place in the sequence.

    With \(\theta_i = b^{-2i/d}\) the pair \((x_i, x_{i + d/2})\) of the vector at place
    \(t = 0, 1, \dots\) is turned by \(t\,\theta_i\). Lengths stay, and the product of a
    rotated query and a rotated key depends on their places by the distance alone.

    Args:
        x: float `[batch, heads, T, d]`, d even.
        base: float > 1. b: the larger, the slower the last pairs turn. Defaults to
            `10000.0`.

    Returns:
        float `[batch, heads, T, d]`.

    Raises:
        ConfigError: when d is odd or `base` is not above 1.

    Example:
        >>> turned = rotary(tf.constant([[[[1.0, 0.0], [1.0, 0.0]]]]))
        >>> turned.numpy().round(2).tolist()
        [[[[1.0, 0.0], [0.5400000214576721, 0.8399999737739563]]]]

    Reference:
        Su et al., "RoFormer: Enhanced transformer with rotary position embedding",
        Neurocomputing 2024, section 3.2.
    """
    if x.shape[-1] % 2:
        raise ConfigError(
            "Rotary positions turn pairs, so vectors must have an even width. "
            f"Received: x of shape {x.shape.as_list()}"
        )
    if not base > 1:
        raise ConfigError(f"`base` must be above 1. Received: base={base}")
    half = x.shape[-1] // 2
    speeds = base ** (-tf.range(half, dtype=tf.float32) / half)
    places = tf.range(tf.shape(x)[-2], dtype=tf.float32)
    angles = places[:, tf.newaxis] * speeds
    cosine, sine = tf.cos(angles), tf.sin(angles)
    first, second = tf.split(tf.cast(x, tf.float32), 2, axis=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return tf.cast(tf.concat(turned, axis=-1), x.dtype)
