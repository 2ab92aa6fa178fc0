"""Mean over the filled places of a padded sequence."""

from typing import Any

from keras_sllmr.compat import keras, tf


@keras.utils.register_keras_serializable("keras_sllmr")
class MaskedMean(keras.layers.Layer):
    r"""Mean of the embeddings whose id is not padding.

    \(\bar e = \frac{\sum_k 1[x_k \ne 0]\, e_k}{\max(1, \sum_k 1[x_k \ne 0])}\), so an
    empty sequence gives zeros.

    Call arguments:
        inputs: pair of embeddings `[batch, N, d]` and integer ids `[batch, N]`, where
            id 0 is padding.

    Returns:
        `[batch, 1, d]`, of the embeddings' dtype.

    Example:
        >>> ids = tf.constant([[3, 4, 0]])
        >>> MaskedMean()([tf.constant([[[2.0], [4.0], [9.0]]]), ids]).numpy().tolist()
        [[[3.0]]]
    """

    def call(self, inputs: Any) -> Any:
        """See the class."""
        embeddings, ids = inputs
        filled = tf.cast(tf.not_equal(ids, 0), embeddings.dtype)
        share = filled / tf.maximum(tf.reduce_sum(filled, axis=1, keepdims=True), 1)
        # A batched product of [1, N] and [N, d]: no masked copy of the sequence.
        return tf.matmul(share[:, None, :], embeddings)
