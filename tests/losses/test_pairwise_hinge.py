from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.pairs import score_gaps
from keras_sllmr.losses.pairwise_hinge import FORMS, PairwiseHinge
from keras_sllmr.losses.regularizer import BlockGate

_EVERY = settings(max_examples=30, deadline=None)


def _valid(*shape: int) -> Any:
    return tf.fill(shape, True)


def test_hand_computed_loss() -> None:
    logits = tf.constant([[0.0, 1.0, 0.25], [2.0, 0.0, 0.0]])
    scores = tf.constant([[0.9, 0.5, 0.1], [0.8, 0.2, 0.0]])
    valid = tf.constant([[True, True, True], [True, True, False]])
    gaps = score_gaps(scores, valid)
    # User 1: (0, 1) 0.5 + 1, (0, 2) 0.5 + 0.25, (1, 2) 0; user 2: (0, 1) 0.
    assert float(PairwiseHinge(0.5)(logits, gaps, 1.0)) == pytest.approx(2.25 / 4)
    alpha = tf.constant(np.full((2, 3, 3), 0.5), tf.float32)
    alpha = tf.tensor_scatter_nd_update(alpha, [[0, 0, 2]], [0.0])
    assert float(PairwiseHinge(0.5)(logits, gaps, alpha)) == pytest.approx(0.75 / 4)


def test_ties_make_no_pair() -> None:
    gaps = score_gaps(tf.constant([[0.5, 0.5]]), _valid(1, 2))
    assert float(PairwiseHinge()(tf.constant([[0.0, 9.0]]), gaps, 1.0)) == 0


def test_no_pair_costs_nothing_and_has_no_gradient() -> None:
    logits = tf.Variable([[1.0, 2.0]])
    gaps = score_gaps(tf.constant([[0.1, 0.9]]), tf.constant([[True, False]]))
    with tf.GradientTape() as tape:
        loss = PairwiseHinge()(logits, gaps, 1.0)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), [[0, 0]])


def test_gradient_moves_only_violated_pairs() -> None:
    logits = tf.Variable([[0.0, 0.0, -5.0]])
    gaps = score_gaps(tf.constant([[0.9, 0.5, 0.1]]), _valid(1, 3))
    with tf.GradientTape() as tape:
        loss = PairwiseHinge(1.0)(logits, gaps, 1.0)
    np.testing.assert_allclose(
        tape.gradient(loss, logits), [[-1 / 3, 1 / 3, 0]], rtol=1e-6
    )


def test_the_logistic_form_is_the_soft_hinge() -> None:
    logits = tf.constant([[0.0, 1.0, 0.25]])
    gaps = score_gaps(tf.constant([[0.9, 0.5, 0.1]]), _valid(1, 3))
    # log(1 + e^(m − lead)) with leads −1, −¼ and ¾ of pairs (0, 1), (0, 2), (1, 2).
    costs = np.log1p(np.exp([1.5, 0.75, -0.25]))
    loss = PairwiseHinge(0.5, form="logistic")
    assert float(loss(logits, gaps, 1.0)) == pytest.approx(costs.mean(), rel=1e-6)
    # α weighs each pair; the mean is still over all of them.
    alpha = tf.where(gaps > 0.5, 0.0, 0.5)
    expected = 0.5 * (costs[0] + costs[2]) / 3
    assert float(loss(logits, gaps, alpha)) == pytest.approx(expected, rel=1e-6)
    far = tf.constant([[-1e4, 1e4, 0.0]])
    assert np.isfinite(loss(far, gaps, 1.0))


def test_the_logistic_form_goes_on_beyond_the_margin() -> None:
    gaps = score_gaps(tf.constant([[0.9, 0.1]]), _valid(1, 2))
    moved = {}
    for form in FORMS:
        logits = tf.Variable([[5.0, 0.0]])
        with tf.GradientTape() as tape:
            loss = PairwiseHinge(0.5, form=form)(logits, gaps, 1.0)
        moved[form] = float(tape.gradient(loss, logits)[0, 0])
    assert moved["hinge"] == 0 > moved["logistic"]


def test_only_the_most_confident_pairs() -> None:
    logits = tf.constant([[0.0, 1.0, 0.25]])
    gaps = score_gaps(tf.constant([[0.9, 0.5, 0.1]]), _valid(1, 3))
    # Of costs 1.5, 0.75 and 0 the second has the largest gap.
    assert float(PairwiseHinge(0.5, max_pairs=1)(logits, gaps, 1.0)) == 0.75
    every = PairwiseHinge(0.5, max_pairs=3)(logits, gaps, 1.0)
    assert float(every) == float(PairwiseHinge(0.5)(logits, gaps, 1.0))


@pytest.mark.parametrize("max_pairs", [None, 2])
def test_terms_are_the_sum_and_the_number(max_pairs: int | None) -> None:
    logits = tf.constant([[0.0, 1.0, 0.25]])
    scores, valid = tf.constant([[0.9, 0.5, 0.1]]), _valid(1, 3)
    hinge = PairwiseHinge(0.5, max_pairs=max_pairs)
    gate = BlockGate(alpha=lambda gaps: 2.0 * gaps, odds=lambda gaps: gaps)
    total, count = hinge.terms(logits, {"score": scores, "valid": valid}, gate)
    assert float(count) == (max_pairs or 3)
    gaps = score_gaps(scores, valid)
    assert float(total / count) == pytest.approx(
        float(hinge(logits, gaps, 2.0 * gaps)), rel=1e-6
    )


def _reference(
    logits: Any, scores: Any, valid: Any, alpha: Any, margin: float
) -> float:
    costs = [
        alpha[user, i, j] * max(0.0, margin - (logits[user, i] - logits[user, j]))
        for user, i, j in np.ndindex(alpha.shape)
        if valid[user, i] and valid[user, j] and scores[user, i] > scores[user, j]
    ]
    return float(np.mean(costs)) if costs else 0.0


@_EVERY
@given(
    seed=st.integers(0, 2**31),
    users=st.integers(1, 4),
    width=st.integers(1, 5),
    margin=st.sampled_from([0.1, 0.5, 2.0]),
)
def test_equals_a_loop_whatever_the_batch_size(
    seed: int, users: int, width: int, margin: float
) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(users, width)).astype(np.float32)
    # Quarters, so that there are ties.
    scores = (rng.integers(0, 5, (users, width)) / 4).astype(np.float32)
    valid = rng.random((users, width)) < 0.7
    alpha = rng.random((users, width, width)).astype(np.float32)
    hinge = PairwiseHinge(margin)
    loss = float(hinge(logits, score_gaps(scores, valid), alpha))
    expected = _reference(logits, scores, valid, alpha, margin)
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-6)
    thrice = [np.tile(a, (3, *[1] * (a.ndim - 1))) for a in (logits, scores, valid)]
    gaps = score_gaps(*thrice[1:])
    again = float(hinge(thrice[0], gaps, np.tile(alpha, (3, 1, 1))))
    assert again == pytest.approx(loss, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan")])
def test_wrong_margin(margin: float) -> None:
    with pytest.raises(ConfigError, match="`margin` must be positive. Received"):
        PairwiseHinge(margin)


@pytest.mark.parametrize("max_pairs", [0, -1, 2.5, "all"])
def test_wrong_max_pairs(max_pairs: Any) -> None:
    with pytest.raises(ConfigError, match="`max_pairs` must be a positive integer"):
        PairwiseHinge(max_pairs=max_pairs)


def test_wrong_form() -> None:
    with pytest.raises(ConfigError, match="one of hinge, logistic.*form='square'"):
        PairwiseHinge(form="square")


def test_config_round_trip() -> None:
    loss = PairwiseHinge(0.75, form="logistic", max_pairs=9)
    twin = keras.utils.deserialize_keras_object(
        keras.utils.serialize_keras_object(loss)
    )
    assert isinstance(twin, PairwiseHinge)
    assert twin.get_config() == loss.get_config()
    assert (twin.margin, twin.form, twin.max_pairs) == (0.75, "logistic", 9)
