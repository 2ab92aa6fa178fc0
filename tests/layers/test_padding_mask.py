import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.padding_mask import PaddingMask


def test_embeddings_pass_and_the_mask_is_of_the_ids() -> None:
    embeddings = tf.random.normal([2, 3, 4])
    ids = tf.constant([[0, 5, 0], [0, 0, 0]])
    masked = PaddingMask()([embeddings, ids])
    np.testing.assert_array_equal(masked, embeddings)
    np.testing.assert_array_equal(
        masked._keras_mask, [[False, True, False], [False, False, False]]
    )
    assert getattr(embeddings, "_keras_mask", None) is None


def test_a_later_layer_reads_the_mask() -> None:
    embeddings, ids = keras.Input((3, 2)), keras.Input((3,), dtype="int32")
    pooled = keras.layers.GlobalAveragePooling1D()(PaddingMask()([embeddings, ids]))
    model = keras.Model([embeddings, ids], pooled)
    values = np.array([[[1, 2], [3, 4], [9, 9]]], np.float32)
    np.testing.assert_allclose(model([values, np.array([[4, 7, 0]])]), [[2, 3]])
