import numpy as np

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.tables import fill, partitioned, rows_of


class Parts:
    """Looks like what a parameter server's strategy makes of a large variable."""

    shape = (5, 2)

    def __init__(self, *parts: tf.Variable) -> None:
        self.variables = list(parts)


def test_a_variable_and_a_layer_are_whole() -> None:
    assert not partitioned(tf.Variable([1.0]))
    assert not partitioned(keras.layers.Dense(1))
    assert partitioned(Parts(tf.Variable([[1.0, 2.0]])))


def test_rows_of_a_whole_table() -> None:
    table = tf.Variable(np.arange(6.0).reshape(3, 2))
    found = rows_of(table, tf.constant([[2, 0]]))
    np.testing.assert_array_equal(found, [[[4, 5], [0, 1]]])


def test_values_are_dealt_out_to_the_parts_in_their_order() -> None:
    layer = keras.layers.Layer()
    for rows in (3, 2, 1):  # a table of five rows in two parts, another of one
        layer.add_weight(shape=(rows, 2), initializer="zeros")
    values = [np.arange(10.0).reshape(5, 2), np.array([[7.0, 8.0]])]
    fill(layer, values)
    first, second, other = layer.get_weights()
    np.testing.assert_array_equal(np.concatenate([first, second]), values[0])
    np.testing.assert_array_equal(other, values[1])
