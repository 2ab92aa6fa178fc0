from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.losses.regularizer import BlockGate


def _block(scores: Any, valid: Any = None) -> dict[str, Any]:
    scores = tf.constant(scores, tf.float32)
    known = tf.fill(scores.shape, True) if valid is None else tf.constant(valid)
    return {"score": scores, "valid": known}


def _gate(odds: Any) -> BlockGate:
    return BlockGate(alpha=lambda gaps: gaps, odds=odds)


def test_gaps_are_of_log_odds() -> None:
    gaps = Evidence().gaps(_block([[0.5, 0.2, 0.9]])).numpy()[0]
    odds = np.log([1, 0.25, 9])
    for i in range(3):
        for j in range(3):
            assert gaps[i, j] == pytest.approx(max(0, odds[i] - odds[j]), rel=1e-5)


def test_by_hand() -> None:
    # One user, one pair: the gate says log-odds 2, the model's margin is 0.5.
    total, pairs = Evidence().terms(
        tf.constant([[0.5, 0.0]]),
        _block([[0.8, 0.2]]),
        _gate(lambda gaps: 0 * gaps + 2),
    )
    chance, margin = 1 / (1 + np.exp(-2)), 0.5
    expected = chance * np.log1p(np.exp(-margin)) + (1 - chance) * np.log1p(
        np.exp(margin)
    )
    assert int(pairs) == 1
    assert float(total) == pytest.approx(expected, rel=1e-6)


def test_the_best_margin_is_the_gates() -> None:
    logits = tf.Variable([[0.0, 0.0]])
    with tf.GradientTape() as tape:
        total, _ = Evidence().terms(
            logits + tf.constant([[1.5, 0.0]]),
            _block([[0.8, 0.2]]),
            _gate(lambda gaps: 0 * gaps + 1.5),
        )
    np.testing.assert_allclose(tape.gradient(total, logits), [[0, 0]], atol=1e-6)


def test_no_gradient_reaches_the_gate() -> None:
    slope = tf.Variable(1.0)
    with tf.GradientTape() as tape:
        total, _ = Evidence().terms(
            tf.zeros([1, 2]), _block([[0.8, 0.2]]), _gate(lambda gaps: slope * gaps)
        )
    assert tape.gradient(total, slope) is None


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]), min_size=2, max_size=5),
    st.data(),
)
def test_pairs_are_of_items_that_have_scores(scores: list[float], data: Any) -> None:
    valid = data.draw(
        st.lists(st.booleans(), min_size=len(scores), max_size=len(scores))
    )
    total, pairs = Evidence().terms(
        tf.zeros([1, len(scores)]), _block([scores], [valid]), _gate(lambda gaps: gaps)
    )
    known = [score for score, is_known in zip(scores, valid, strict=True) if is_known]
    expected = sum(a > b for a in known for b in known)
    assert int(pairs) == expected
    assert np.isfinite(total)
    assert float(total) == pytest.approx(expected * np.log(2), rel=1e-5)


def test_a_saved_one() -> None:
    config = keras.utils.serialize_keras_object(Evidence())
    assert isinstance(keras.utils.deserialize_keras_object(config), Evidence)
