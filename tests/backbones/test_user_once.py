from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import ITEM_INPUTS, FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.backbones.user_once import UserOnce
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError

Rows = dict[str, np.ndarray]

#: the user of each of six rows.
USER_OF_ROW = np.array([2, 0, 0, 1, 3, 0])


def _sides(rows: Rows, names: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    user = {name: tf.constant(rows[name]) for name in names if name not in ITEM_INPUTS}
    item = {
        name: tf.constant(rows[name][[0, 1, 2, 3, 1, 0]])
        for name in names
        if name in ITEM_INPUTS
    }
    return user, item


@pytest.mark.parametrize("name", BACKBONES)
def test_equals_the_model_on_rows(
    name: str,
    spec: FeatureSpec,
    rows: Rows,
    text_vectors: np.ndarray,
    shuffle_weights: Callable[[Any], Any],
) -> None:
    model = shuffle_weights(
        build_backbone(
            name,
            replace(spec, user_id=True),
            text_vectors=text_vectors,
            embedding_dim=4,
            dnn_hidden_units=(6, 5),
        )
    )
    user, item = _sides(rows, model.input)
    repeated = {key: tf.gather(value, USER_OF_ROW) for key, value in user.items()}
    once = UserOnce(model, ITEM_INPUTS)
    logits = once(user, item, tf.constant(USER_OF_ROW))
    assert np.ptp(logits) > 0.1
    np.testing.assert_allclose(
        logits, model({**repeated, **item}), rtol=1e-5, atol=1e-5
    )


class Counting(keras.layers.Layer):
    """Passes rows on and keeps count of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[int] = []

    def call(self, x: Any) -> Any:
        self.rows.append(int(x.shape[0]) if x.shape[0] else 0)
        return tf.cast(x, tf.float32)


class CountingInTraining(Counting):
    """Acts otherwise in training, or could."""

    def call(self, x: Any, training: bool = False) -> Any:
        return super().call(x)


@pytest.mark.parametrize(
    ("make", "seen"), [(Counting, 2), (CountingInTraining, 5)], ids=["once", "rows"]
)
def test_user_layers_run_once_a_user(make: Callable[[], Any], seen: int) -> None:
    layer = make()
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "price")}
    logit = keras.layers.Add()([layer(inputs["age"]), inputs["price"]])
    model = UserOnce(keras.Model(inputs, logit), ["price"])
    layer.rows.clear()
    age, price = tf.constant([[10.0], [20.0]]), tf.reshape(tf.range(5.0), [5, 1])
    out = model({"age": age}, {"price": price}, tf.constant([0, 0, 0, 1, 1]))
    assert layer.rows == [seen]
    np.testing.assert_array_equal(out[:, 0], [10, 11, 12, 23, 24])


def test_dropout_differs_between_the_rows_of_a_user() -> None:
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "price")}
    dropped = keras.layers.Dropout(0.5)(inputs["age"])
    logit = keras.layers.Add()([dropped, inputs["price"]])
    model = UserOnce(keras.Model(inputs, logit), ["price"])
    rows = tf.zeros([64], tf.int32)
    sides = {"age": tf.ones([1, 1])}, {"price": tf.zeros([64, 1])}
    assert set(model(*sides, rows, training=True).numpy().ravel()) == {0, 2}
    assert set(model(*sides, rows).numpy().ravel()) == {1}


def test_a_logit_of_the_user_alone() -> None:
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "price")}
    model = keras.Model(inputs, keras.layers.ReLU()(inputs["age"]))
    once = UserOnce(model, ["price"])
    out = once(
        {"age": tf.constant([[1.0], [2.0]])},
        {"price": tf.zeros([3, 1])},
        tf.constant([1, 0, 1]),
    )
    np.testing.assert_array_equal(out[:, 0], [2, 1, 2])


def test_a_feature_more_or_less() -> None:
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "price")}
    model = UserOnce(
        keras.Model(inputs, keras.layers.Add()(inputs.values())), ["price"]
    )
    one, row = tf.ones([1, 1]), tf.constant([0])
    out = model({"age": one, "name": one}, {"price": one, "size": one}, row)
    assert out.numpy().tolist() == [[2]]
    with pytest.raises(ConfigError, match="of items must include price. Rec.*: size"):
        model({"age": one, "price": one}, {"size": one}, row)
    with pytest.raises(ConfigError, match="of users must include age. Received: none"):
        model({}, {"age": one, "price": one}, row)


@pytest.mark.parametrize(("names", "found"), [(["size"], "size"), ([], "none")])
def test_item_inputs_that_the_model_lacks(names: list[str], found: str) -> None:
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "price")}
    model = keras.Model(inputs, keras.layers.Add()(inputs.values()))
    with pytest.raises(
        ConfigError, match=f"some of the model's inputs, age, price. Received: {found}"
    ):
        UserOnce(model, names)


@pytest.mark.parametrize(
    "model",
    [
        keras.Sequential([keras.layers.Dense(1)]),
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]),
        None,
    ],
)
def test_models_it_cannot_run(model: Any) -> None:
    with pytest.raises(ConfigError, match="functional keras.Model.*Received: "):
        UserOnce(model, ["item"])
