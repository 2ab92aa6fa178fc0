from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec

Rows = dict[str, np.ndarray]


@pytest.fixture
def spec() -> FeatureSpec:
    return FeatureSpec(
        n_users=5, n_items=9, n_attributes=4, history_length=3, attribute_width=2
    )


@pytest.fixture
def text_vectors() -> np.ndarray:
    """Six numbers an item; row 0 is padding."""
    vectors = np.random.default_rng(3).normal(size=(10, 6)).astype(np.float32)
    vectors[0] = 0
    return vectors


@pytest.fixture
def rows() -> Rows:
    """Four rows: a full one, a short one, one without attributes, an empty one."""
    return {
        "user": np.array([1, 2, 5, 0], np.int32),
        "item": np.array([1, 4, 9, 2], np.int32),
        "history": np.array([[2, 3, 4], [0, 0, 7], [0, 8, 1], [0, 0, 0]], np.int32),
        "item_attributes": np.array([[1, 2], [3, 0], [0, 0], [4, 0]], np.int32),
        "history_attributes": np.array(
            [[1, 2, 3, 0, 4, 0], [0, 0, 0, 0, 1, 2], [0] * 6, [0] * 6], np.int32
        ),
    }


@pytest.fixture
def shuffle_weights() -> Callable[[Any], Any]:
    """Gives a model random weights, so that those that start at zero take part."""

    def shuffle(model: Any) -> Any:
        rng = np.random.default_rng(11)
        for layer in model.layers:
            if layer.trainable:
                for weight in layer.weights:
                    value = rng.normal(0, 0.5, weight.shape)
                    positive = "moving_variance" in weight.name
                    weight.assign(np.abs(value) if positive else value)
        return model

    return shuffle
