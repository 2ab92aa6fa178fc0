from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.numeric_fields import NumericFields

NUMBERS = {"price": np.array([2, 0], np.float32), "age": np.array([-1, 3], np.float32)}


def _fields(**options: Any) -> NumericFields:
    fields = NumericFields(2, first_order=True, **options)
    fields(NUMBERS)
    # Rows in the order of the names: age, price.
    fields.set_weights([np.array([[1, 2], [3, 4]]), np.array([[10], [100]])])
    return fields


@pytest.mark.parametrize("compiled", [False, True])
def test_products_by_hand(compiled: bool) -> None:
    embeddings, weights = tf.function(_fields(), jit_compile=compiled)(NUMBERS)
    np.testing.assert_array_equal(embeddings, [[[-1, -2], [6, 8]], [[3, 6], [0, 0]]])
    np.testing.assert_array_equal(weights, [[190], [30]])


def test_columns_of_one_number_are_the_same_as_none() -> None:
    wide = {name: values[:, np.newaxis] for name, values in NUMBERS.items()}
    for one, other in zip(_fields()(NUMBERS), _fields()(wide), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_first_order() -> None:
    fields = NumericFields(3)
    assert fields(NUMBERS).shape == (2, 2, 3)
    assert len(fields.weights) == 1


def test_initial_values() -> None:
    fields = NumericFields(5000, stddev=0.5, first_order=True)
    fields(NUMBERS)
    assert fields.embeddings.numpy().std() == pytest.approx(0.5, rel=0.05)
    assert not fields.linear.numpy().any()


def test_half_precision() -> None:
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    embeddings, weights = _fields(dtype=policy)(NUMBERS)
    assert embeddings.dtype == weights.dtype == tf.bfloat16
    np.testing.assert_array_equal(tf.cast(weights, tf.float32), [[190], [30]])


def test_a_saved_model(tmp_path: Path) -> None:
    inputs = {name: keras.Input((), name=name) for name in NUMBERS}
    model = keras.Model(inputs, _fields()(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one, other in zip(model(NUMBERS), loaded(NUMBERS), strict=True):
        np.testing.assert_array_equal(one, other)
