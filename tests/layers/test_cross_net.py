from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.layers.cross_net import CrossNet, CrossNetMix

ROWS, UNITS = 7, 6
X = np.random.default_rng(0).normal(size=(ROWS, UNITS)).astype(np.float32)

CASES: dict[str, tuple[type, type, dict[str, Any]]] = {
    "vector": (CrossNet, deepctr_layers.CrossNet, {"layer_num": 3}),
    "matrix": (
        CrossNet,
        deepctr_layers.CrossNet,
        {"layer_num": 3, "parameterization": "matrix"},
    ),
    "mixture": (
        CrossNetMix,
        deepctr_layers.CrossNetMix,
        {"layer_num": 3, "low_rank": 2, "num_experts": 3},
    ),
    "one expert": (
        CrossNetMix,
        deepctr_layers.CrossNetMix,
        {"layer_num": 1, "low_rank": 1, "num_experts": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_deepctrs_layer(case: str, assert_same_layer: Callable) -> None:
    ours, theirs, arguments = CASES[case]
    assert_same_layer(ours(**arguments), theirs(**arguments), tf.constant(X))


def test_a_vector_cross_by_hand() -> None:
    layer = CrossNet(1)
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0], [2.0]]), np.array([[0.5], [0.25]])])
    # x (x · w) + b + x with x · w = 3 + 8 = 11
    np.testing.assert_allclose(layer(tf.constant([[3.0, 4.0]])), [[36.5, 48.25]])


def test_a_matrix_cross_by_hand() -> None:
    layer = CrossNet(1, "matrix")
    layer.build((None, 2))
    layer.set_weights([np.array([[1.0, 2.0], [0.0, 3.0]]), np.array([[0.5], [0.25]])])
    # x ∘ (W x + b) + x with W x = [3 + 8, 12]
    np.testing.assert_allclose(layer(tf.constant([[3.0, 4.0]])), [[37.5, 53]])


@pytest.mark.parametrize("case", CASES)
def test_survives_saving_and_compiles(tmp_path: Any, case: str) -> None:
    layer, _, arguments = CASES[case]
    x = keras.Input((UNITS,))
    model = keras.Model(x, layer(**arguments)(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[-1]) is layer
    np.testing.assert_array_equal(model(X), loaded(X))
    compiled = tf.function(model, jit_compile=True)
    np.testing.assert_allclose(compiled(X), model(X), rtol=1e-5, atol=1e-6)
