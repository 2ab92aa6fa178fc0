from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.masked_mean import MaskedMean


@pytest.fixture
def policy() -> Iterator[Any]:
    """Sets a dtype policy for the test."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def test_mean_over_the_filled_places() -> None:
    embeddings = tf.constant([[[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]] * 4)
    ids = tf.constant([[3, 4, 5], [0, 4, 5], [0, 0, 5], [3, 0, 5]])
    mean = MaskedMean()([embeddings, ids])
    expected = [[[3, 30]], [[4, 40]], [[6, 60]], [[3.5, 35]]]
    np.testing.assert_allclose(mean, expected, rtol=1e-6)


def test_an_empty_sequence_gives_zeros() -> None:
    mean = MaskedMean()([tf.ones([2, 3, 4]), tf.zeros([2, 3], tf.int64)])
    np.testing.assert_array_equal(mean, np.zeros((2, 1, 4)))


def test_padding_gets_no_gradient() -> None:
    embeddings = tf.Variable(tf.ones([1, 3, 2]))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(MaskedMean()([embeddings, tf.constant([[7, 0, 8]])]))
    gradient = tape.gradient(total, embeddings)
    np.testing.assert_allclose(gradient[0, :, 0], [0.5, 0, 0.5])


def test_config_round_trip_in_a_model() -> None:
    ids = keras.Input((3,), dtype="int32")
    model = keras.Model(
        ids, MaskedMean(name="mean")([keras.layers.Embedding(9, 2)(ids), ids])
    )
    twin = keras.Model.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    rows = tf.constant([[1, 2, 0], [0, 0, 0]])
    assert model.output_shape == twin.output_shape == (None, 1, 2)
    np.testing.assert_array_equal(model(rows), twin(rows))


@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_mixed_precision(policy: Any, name: str) -> None:
    policy(f"mixed_{name}")
    ids = keras.Input((3,), dtype="int32")
    table = keras.layers.Embedding(9, 2)
    model = keras.Model(ids, MaskedMean()([table(ids), ids]))
    table.set_weights([np.arange(18).reshape(9, 2)])
    mean = model(tf.constant([[1, 3, 0], [0, 0, 0]]))
    assert mean.dtype == name
    np.testing.assert_array_equal(tf.cast(mean, tf.float32), [[[4, 5]], [[0, 0]]])
