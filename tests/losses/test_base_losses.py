"""What BPR and InfoNCE have in common, and the losses by name."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.bpr import BPR
from keras_sllmr.losses.info_nce import InfoNCE
from keras_sllmr.losses.registry import BASE_LOSSES, base_loss

RANKING = [BPR(), InfoNCE(), InfoNCE(0.2)]
_EVERY = settings(max_examples=25, deadline=None)
_IDS = [f"{loss.name}-{getattr(loss, 'temperature', '')}" for loss in RANKING]
every_ranking_loss = pytest.mark.parametrize("loss", RANKING, ids=_IDS)


def _rows(loss: Any, y_true: Any, y_pred: Any) -> Any:
    return loss.call(tf.constant(y_true), tf.constant(y_pred, tf.float32)).numpy()


@every_ranking_loss
def test_far_apart_logits_neither_overflow_nor_vanish(loss: Any) -> None:
    y_true = np.array([[1.0, 0.0]] * 4, np.float32)
    y_pred = tf.Variable([[1e4, -1e4], [-1e4, 1e4], [1e30, 1e30], [60.0, 0.0]])
    with tf.GradientTape() as tape:
        losses = loss.call(y_true, y_pred)
    scale = getattr(loss, "temperature", 1.0)
    np.testing.assert_allclose(losses[:3], [0, 2e4 / scale, np.log(2)], rtol=1e-6)
    assert np.isfinite(tape.gradient(losses, y_pred)).all()


@every_ranking_loss
@_EVERY
@given(seed=st.integers(0, 2**31), groups=st.integers(1, 4), k=st.integers(1, 5))
def test_only_differences_within_a_group_count(
    loss: Any, seed: int, groups: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    y_true = np.eye(1 + k, dtype=np.float32)[rng.integers(0, 1 + k, groups)]
    y_pred = rng.normal(0, 2, (groups, 1 + k)).astype(np.float32)
    losses = _rows(loss, y_true, y_pred)
    assert losses.shape == (groups,) and (losses > 0).all()
    shifted = _rows(loss, y_true, y_pred + rng.normal(size=(groups, 1)))
    np.testing.assert_allclose(losses, shifted, rtol=1e-3, atol=1e-5)
    order = rng.permutation(1 + k)
    reordered = _rows(loss, y_true[:, order], y_pred[:, order])
    np.testing.assert_allclose(losses, reordered, rtol=1e-4, atol=1e-6)


@every_ranking_loss
def test_descent_lifts_the_positive_above_the_negatives(loss: Any) -> None:
    y_pred = tf.Variable([[0.0, 0.5, -0.5]])
    with tf.GradientTape() as tape:
        value = loss(tf.constant([[0.0, 1.0, 0.0]]), y_pred)
    gradient = tape.gradient(value, y_pred)[0]
    assert gradient[1] < 0 < gradient[2] < gradient[0]
    assert float(tf.reduce_sum(gradient)) == pytest.approx(0, abs=1e-6)


@every_ranking_loss
def test_sample_weights_are_of_groups(loss: Any) -> None:
    y_true = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
    y_pred = np.array([[0.3, 1.0, -2.0], [0.1, 0.4, -0.6]], np.float32)
    first, second = _rows(loss, y_true, y_pred)
    for weight in (np.array([3.0, 0.5]), np.array([[3.0], [0.5]])):
        weighted = float(loss(y_true, y_pred, sample_weight=weight))
        assert weighted == pytest.approx((3 * first + 0.5 * second) / 2, rel=1e-6)
    plain = float(loss(y_true, y_pred))
    assert plain == pytest.approx((first + second) / 2, rel=1e-6)


def _dense(loss: Any, **options: Any) -> Any:
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.1), loss, **options)
    return model


@pytest.mark.parametrize("name", BASE_LOSSES)
@pytest.mark.parametrize("options", [{}, {"jit_compile": True}], ids=str)
def test_every_loss_trains_groups_in_a_graph(name: str, options: Any) -> None:
    model = _dense(base_loss(name), **options)
    x, y = np.eye(4, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    weight = np.array([1.0, 2.0, 0.0, 1.0])
    history = model.fit(x, y, sample_weight=weight, epochs=3, verbose=0).history
    assert history["loss"][0] > history["loss"][1] > history["loss"][2] > 0


@every_ranking_loss
@pytest.mark.parametrize(
    ("y_true", "y_pred"),
    [((8, 1), (8, 1)), ((8, 3), (8, 2)), ((6,), (6,)), ((2, 3, 2), (2, 3, 2))],
)
def test_rows_that_are_not_groups(loss: Any, y_true: Any, y_pred: Any) -> None:
    with pytest.raises(ConfigError, match=r"shape \[groups, 1 \+ K\]. Received: y_tr"):
        loss(tf.zeros(y_true), tf.zeros(y_pred))


@every_ranking_loss
def test_rows_that_are_not_groups_are_found_while_tracing(loss: Any) -> None:
    spec = tf.TensorSpec([None, 1])
    with pytest.raises(ConfigError, match=r"Received: y_true \[None, 1\] and"):
        tf.function(lambda y, p: loss(y, p)).get_concrete_function(spec, spec)


def test_fit_on_rows_says_what_to_do() -> None:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", BPR())
    with pytest.raises(ConfigError, match="Draw negatives for each positive, or use"):
        model.fit(np.eye(2), np.ones((2, 1)), verbose=0)


@every_ranking_loss
def test_config_round_trip(loss: Any) -> None:
    twin = keras.utils.deserialize_keras_object(
        keras.utils.serialize_keras_object(loss)
    )
    assert type(twin) is type(loss) and twin.get_config() == loss.get_config()


@every_ranking_loss
def test_a_saved_model_holds_its_loss(tmp_path: Any, loss: Any) -> None:
    model = _dense(loss)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x, y = np.eye(4, dtype=np.float32), np.eye(3, dtype=np.float32)[[0, 0, 1, 2]]
    expected = model.evaluate(x, y, verbose=0)
    assert loaded.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-6)


@every_ranking_loss
def test_half_precision(loss: Any) -> None:
    y_pred = tf.constant([[2.0, 1.0]], tf.bfloat16)
    value = loss(tf.constant([[1.0, 0.0]]), y_pred)
    full = loss(tf.constant([[1.0, 0.0]]), tf.constant([[2.0, 1.0]]))
    assert float(value) == pytest.approx(float(full), rel=0.02, abs=2e-3)


# By name


def test_bce_of_groups_is_bce_of_their_rows() -> None:
    y_true = tf.constant([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    y_pred = tf.constant([[0.2, 1.0], [-1.0, 3.0], [0.5, 0.5]])
    loss = base_loss("bce")
    rows = loss(tf.reshape(y_true, [-1, 1]), tf.reshape(y_pred, [-1, 1]))
    assert float(loss(y_true, y_pred)) == pytest.approx(float(rows), rel=1e-6)


def test_names() -> None:
    assert list(BASE_LOSSES) == ["bce", "bpr", "info_nce"]
    assert isinstance(base_loss("bpr"), BPR)
    assert isinstance(base_loss("info_nce"), InfoNCE)
    assert base_loss("bce").get_config()["from_logits"] is True


def test_an_unknown_name() -> None:
    with pytest.raises(ConfigError, match="one of bce, bpr, info_nce.*loss='hinge'"):
        base_loss("hinge")
