import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.distillation import Distillation, soft_targets

NAN = float("nan")


def test_targets_at_temperature_one_are_the_scores() -> None:
    scores = np.array([0.001, 0.25, 0.5, 0.999], np.float32)
    np.testing.assert_allclose(soft_targets(scores), scores, rtol=1e-5)


def test_targets_by_hand() -> None:
    # Log-odds of .9 are ln 9: halved, odds of 3; doubled, of 81.
    np.testing.assert_allclose(soft_targets([0.9], 2.0), [0.75], rtol=1e-6)
    np.testing.assert_allclose(soft_targets([0.9], 0.5), [81 / 82], rtol=1e-6)


def test_targets_of_the_public_code() -> None:
    def softmax(yes: float, no: float) -> float:
        return float(np.exp(yes) / (np.exp(yes) + np.exp(no)))

    for temperature in (1.0, 0.5):
        for score in (0.0, 0.3, 1.0):
            # The scorer's second softmax, of probabilities; then the distillation's.
            again = softmax(score, 1 - score)
            expected = softmax(again / temperature, (1 - again) / temperature)
            found = float(soft_targets(score, temperature, twice=True))
            assert found == pytest.approx(expected, rel=1e-6)
    ends = soft_targets([0.0, 1.0], twice=True).numpy().round(3)
    np.testing.assert_array_equal(ends, np.array([0.386, 0.614], np.float32))


@pytest.mark.parametrize("twice", [False, True])
def test_targets_of_extreme_and_missing_scores(twice: bool) -> None:
    found = soft_targets([0.0, 1.0, NAN], 0.1, twice).numpy()
    assert 0 <= found[0] < 0.5 < found[1] <= 1
    assert np.isnan(found[2])


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0, 1, width=32), min_size=2, max_size=2),
    st.floats(0.5, 10),
    st.booleans(),
)
def test_targets_keep_the_order_and_are_symmetric(
    scores: list[float], temperature: float, twice: bool
) -> None:
    low, high = sorted(scores)
    found = soft_targets([low, high, 1 - low], temperature, twice).numpy()
    assert found[0] <= found[1] + 1e-6
    assert found[0] + found[2] == pytest.approx(1, abs=1e-5)


def test_hand_computed() -> None:
    logits = tf.constant([0.0, np.log(3.0), 9.0], tf.float32)
    scores, valid = tf.constant([0.9, 0.25, NAN]), tf.constant([True, True, False])
    # Probabilities ½ and ¾.
    expected = (np.log(2) - 0.25 * np.log(0.75) - 0.75 * np.log(0.25)) / 2
    assert float(Distillation()(logits, scores, valid)) == pytest.approx(expected)
    # At T = 2 odds of 9 are 3, and of ⅓ are 1/√3.
    target = 1 / (1 + np.sqrt(3))
    expected = np.log(2) - target * np.log(0.75) - (1 - target) * np.log(0.25)
    found = float(Distillation(temperature=2.0)(logits, scores, valid))
    assert found == pytest.approx(expected / 2)


def test_gradient_is_the_probability_less_the_target() -> None:
    logits = tf.Variable([[0.0, 2.0], [NAN, 1e30]])
    scores = tf.constant([[0.9, 0.2], [0.5, NAN]])
    valid = tf.constant([[True, True], [False, False]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        loss = Distillation()(logits, scores, valid)
    of_logits, of_scores = tape.gradient(loss, [logits, scores])
    expected = [(0.5 - 0.9) / 2, (1 / (1 + np.exp(-2)) - 0.2) / 2]
    np.testing.assert_allclose(of_logits[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(of_logits[1], [0, 0])
    assert of_scores is None
    assert np.isfinite(float(loss))


def test_extreme_logits_are_stable() -> None:
    logits = tf.Variable([1e4, -1e4])
    with tf.GradientTape() as tape:
        loss = Distillation()(logits, [0.0, 1.0], [True, True])
    assert float(loss) == pytest.approx(1e4, rel=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, logits), [0.5, -0.5], rtol=1e-5)


def test_no_valid_row() -> None:
    logits = tf.Variable([0.3, 0.7])
    with tf.GradientTape() as tape:
        loss = Distillation()(logits, [NAN, NAN], [False, False])
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), [0, 0])


def test_half_precision_logits() -> None:
    loss = Distillation()(tf.zeros([2], tf.bfloat16), [0.1, 0.2], [True, True])
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(np.log(2))


def test_rebuilt_from_its_config() -> None:
    loss = Distillation(temperature=3.0, twice=True)
    again = keras.utils.deserialize_keras_object(
        keras.utils.serialize_keras_object(loss)
    )
    assert isinstance(again, Distillation)
    assert again.get_config() == {"temperature": 3.0, "twice": True}


def test_wrong_arguments() -> None:
    for temperature in (0.0, -1.0, NAN, float("inf")):
        with pytest.raises(ConfigError, match="`temperature` must be positive"):
            Distillation(temperature)
        with pytest.raises(ConfigError, match="`temperature` must be positive"):
            soft_targets([0.5], temperature)
    # Would broadcast to [2, 2].
    with pytest.raises(ConfigError, match="must have one shape"):
        Distillation()(tf.zeros([2, 1]), tf.zeros([2]), tf.fill([2], True))
