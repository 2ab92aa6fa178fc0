import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import tf
from keras_sllmr.losses.reconstruction import cosine_reconstruction

NAN = float("nan")


def test_hand_computed() -> None:
    predicted = tf.constant([[[3.0, 4.0], [1.0, 0.0]], [[-2.0, 0.0], [NAN, 1.0]]])
    target = tf.constant([[[4.0, 3.0], [5.0, 0.0]], [[1.0, 0.0], [NAN, NAN]]])
    valid = tf.constant([[True, True], [True, False]])
    # Cosines 24/25, 1 and −1.
    loss = float(cosine_reconstruction(predicted, target, valid))
    assert loss == pytest.approx(1 - 0.96 / 3, rel=1e-6)


def test_gradient_by_hand() -> None:
    predicted = tf.Variable([[2.0, 0.0], [0.0, 0.0], [NAN, 1.0]])
    target = tf.constant([[0.0, 3.0], [1.0, 0.0], [1.0, 1.0]])
    with tf.GradientTape() as tape:
        loss = cosine_reconstruction(predicted, target, [True, True, False])
    # Both cosines are 0; only across the vector does the loss fall, by 1 / (2 · |x|).
    assert float(loss) == 1
    gradient = tape.gradient(loss, predicted)
    np.testing.assert_allclose(gradient, [[0, -0.25], [0, 0], [0, 0]], atol=1e-7)


@pytest.mark.parametrize("size", [1e-30, 1e-8, 1.0, 1e15, 1e30])
def test_finite_at_every_size(size: float) -> None:
    predicted, target = tf.Variable([[size, 0.0]]), tf.constant([[size, size]])
    with tf.GradientTape() as tape:
        loss = cosine_reconstruction(predicted, target, [True])
    assert 0 <= float(loss) <= 1
    assert np.isfinite(tape.gradient(loss, predicted)).all()


def test_no_valid_place() -> None:
    predicted = tf.Variable([[1.0, 2.0]])
    with tf.GradientTape() as tape:
        loss = cosine_reconstruction(predicted, tf.zeros([1, 2]), [False])
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, predicted), [[0, 0]])


def test_half_precision() -> None:
    x = tf.ones([2, 4], tf.bfloat16)
    loss = cosine_reconstruction(x, tf.ones([2, 4]), [True, True])
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(0, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 100), st.floats(0.01, 100))
def test_lengths_do_not_count(seed: int, first: float, second: float) -> None:
    rng = np.random.default_rng(seed)
    predicted, target = rng.normal(size=(2, 4, 3)).astype(np.float32)
    valid = rng.random(4) < 0.7
    loss = float(cosine_reconstruction(predicted, target, valid))
    scaled = cosine_reconstruction(first * predicted, second * target, valid)
    assert float(scaled) == pytest.approx(loss, abs=1e-5)
    sizes = np.linalg.norm(predicted, axis=1) * np.linalg.norm(target, axis=1)
    cosines = (predicted * target).sum(axis=1) / sizes
    expected = 1 - cosines[valid].mean() if valid.any() else 0
    assert loss == pytest.approx(expected, abs=1e-5)
