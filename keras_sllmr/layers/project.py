"""One matrix for all vectors of a tensor."""

from typing import Any

from keras_sllmr.compat import tf


def project(x: Any, kernel: Any) -> Any:
    r"""\(x W\) of every vector, as one product.

    `tf.matmul` would make a product a batch row, and a gradient of the kernel a batch
    row: for short sequences of narrow tokens that takes several times as long.

    Args:
        x: float `[..., d]`, of known rank.
        kernel: float `[d, k]`.

    Returns:
        float `[..., k]`.

    Example:
        >>> project(tf.ones([2, 5, 3]), tf.ones([3, 4])).shape
        TensorShape([2, 5, 4])
    """
    product = tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel)
    shape = tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], axis=0)
    return tf.ensure_shape(tf.reshape(product, shape), [*x.shape[:-1], kernel.shape[1]])
