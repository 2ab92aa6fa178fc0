from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.layers.cin import CIN


def _fields(fields: int, dim: int = 5, rows: int = 3) -> Any:
    rng = np.random.default_rng(0)
    return tf.constant(rng.normal(size=(rows, fields, dim)), tf.float32)


@pytest.mark.parametrize("split_half", [True, False])
@pytest.mark.parametrize("sizes", [(3,), (4, 3), (4, 2, 3), (4, 2, 6, 1)])
@pytest.mark.parametrize("fields", [1, 2, 4])
def test_equals_deepctrs_layer(
    sizes: tuple[int, ...],
    split_half: bool,
    fields: int,
    assert_same_layer: Callable[..., None],
) -> None:
    arguments = (sizes, "linear", split_half)
    theirs = deepctr_layers.CIN(*arguments)
    assert_same_layer(CIN(*arguments), theirs, _fields(fields))


@pytest.mark.parametrize(
    ("fields", "sizes", "activation"),
    [(3, (4, 3), "relu"), (22, (2, 2), "linear")],
    ids=["nonlinear", "many fields"],
)
def test_what_deepctr_computes(
    fields: int,
    sizes: tuple[int, ...],
    activation: str,
    assert_same_layer: Callable[..., None],
) -> None:
    theirs = deepctr_layers.CIN(sizes, activation)
    assert_same_layer(CIN(sizes, activation), theirs, _fields(fields))


def test_two_layers_by_hand() -> None:
    layer = CIN((2, 1), "linear")
    layer.build((None, 2, 1))
    layer.set_weights(
        [
            # Maps from the products 9, 15, 15 and 25 of the fields 3 and 5:
            np.array([[[1.0, 0], [2, 0], [0, 1], [0, 1]]]),
            np.array([0.5, 0.25]),  # 9 + 30 + .5 goes on, 15 + 25 + .25 out.
            np.array([[[2.0], [1.0]]]),
            np.array([0.125]),  # 39.5 (2 · 3 + 5) + .125
        ]
    )
    maps = layer(tf.constant([[[3.0], [5.0]]]))
    np.testing.assert_allclose(maps, [[40.25, 434.625]], rtol=1e-6)


def test_maps_are_summed_over_the_embedding() -> None:
    layer = CIN((4, 2, 3), "linear")
    fields = _fields(3)
    whole = layer(fields)
    places = [layer(fields[:, :, d : d + 1]) for d in range(fields.shape[2])]
    np.testing.assert_allclose(whole, tf.add_n(places), rtol=1e-4, atol=1e-6)


def test_no_rows() -> None:
    assert CIN((4, 3), "linear")(tf.zeros([0, 3, 5])).shape == (0, 5)


@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_survives_saving_and_compiles(tmp_path: Any, activation: str) -> None:
    fields = keras.Input((3, 5))
    model = keras.Model(fields, CIN([4, 3], activation)(fields))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model(_fields(3)), loaded(_fields(3)))
    compiled = tf.function(model, jit_compile=True)(_fields(3))
    np.testing.assert_allclose(compiled, model(_fields(3)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("l2_reg", [0.0, 0.5])
def test_the_regularisation_survives_saving(tmp_path: Any, l2_reg: float) -> None:
    fields = keras.Input((3, 2))
    model = keras.Model(fields, CIN([2, 2], l2_reg=l2_reg)(fields))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    filters = model.layers[-1].filters
    expected = l2_reg * sum((np.square(kernel)).sum() for kernel in filters)
    for one in (model, loaded):
        np.testing.assert_allclose(sum(map(float, one.losses)), expected, rtol=1e-5)
