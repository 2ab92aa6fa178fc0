"""Marks the padding of an embedded sequence, for layers that read Keras masks."""

from typing import Any

from keras_sllmr.compat import keras, tf


@keras.utils.register_keras_serializable("keras_sllmr")
class PaddingMask(keras.layers.Layer):
    r"""Passes embeddings on with the mask \(m_k = 1[x_k \ne 0]\) of their ids.

    An embedding with `mask_zero` would mask every use of a shared table; this masks
    one, wherever in the sequence the padding stands.

    Call arguments:
        inputs: pair of embeddings `[batch, N, d]` and integer ids `[batch, N]`, where
            id 0 is padding.

    Returns:
        The embeddings, with a Keras mask `[batch, N]`.

    Example:
        >>> mask = PaddingMask()
        >>> masked = mask([tf.ones([1, 3, 2]), tf.constant([[0, 3, 4]])])
        >>> masked._keras_mask.numpy().tolist()
        [[False, True, True]]
    """

    def call(self, inputs: Any) -> Any:
        """See the class."""
        # A new tensor: the mask is not to stick to the layer's input.
        return tf.identity(inputs[0])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True where the id is not padding."""
        return tf.not_equal(inputs[1], 0)
