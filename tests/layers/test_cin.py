import numpy as np
import pytest

from keras_sllmr.compat import keras
from keras_sllmr.layers.cin import CIN


@pytest.mark.parametrize("l2_reg", [0.0, 0.5])
def test_the_regularisation_survives_saving(tmp_path, l2_reg: float) -> None:
    fields = keras.Input((3, 2))
    model = keras.Model(fields, CIN([2, 2], l2_reg=l2_reg)(fields))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    filters = model.layers[-1].filters
    expected = l2_reg * sum((np.square(kernel)).sum() for kernel in filters)
    for one in (model, loaded):
        np.testing.assert_allclose(sum(map(float, one.losses)), expected, rtol=1e-5)
