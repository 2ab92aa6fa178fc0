from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import OBJECTIVES, Gate
from keras_sllmr.losses.agreement import agreement_loss
from keras_sllmr.losses.pairs import score_gaps
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge

_EVERY = settings(max_examples=25, deadline=None)


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, float)))


def _gate(objective: str, weight: list[float], bias: float) -> Gate:
    gate = Gate([f"s{n}" for n in range(len(weight))], objective=objective)
    gate.build((None, len(weight)))
    gate.set_weights([np.array(weight, np.float32), np.float32(bias)])
    return gate


@pytest.fixture
def z() -> Any:
    """One user, two items, two signals."""
    return tf.constant([[[1.0, 0.0], [0.5, 1.0]]])


@pytest.fixture
def gaps() -> Any:
    return tf.constant([[[0.0, 0.8], [0.0, 0.0]]])


def test_agreement_is_the_advantage_over_a_coin(z: Any, gaps: Any) -> None:
    gate = _gate("agreement", [2.0, -1.0], 0.5)
    # Logits 2.5 and 0.5; the pair's mean is 1.5 and κ = log(1 + e^1.5).
    right = _sigmoid(np.log1p(np.exp(1.5)) * 0.8)
    expected = [[0, 2 * right - 1], [0, 0]]
    np.testing.assert_allclose(gate(z, gaps)[0], expected, atol=1e-6)


def test_evidence_is_the_log_odds_of_a_right_order(z: Any, gaps: Any) -> None:
    evidence = _gate("agreement", [2.0, -1.0], 0.5).evidence(z, gaps)
    expected = [[0, np.log1p(np.exp(1.5)) * 0.8], [0, 0]]
    np.testing.assert_allclose(evidence[0], expected, rtol=1e-6)


def test_joint_is_the_mean_of_the_items_gates(z: Any, gaps: Any) -> None:
    alpha = _gate("joint", [2.0, -1.0], 0.5)(z, gaps)
    first, second = _sigmoid(2.5), _sigmoid(0.5)
    both = (first + second) / 2
    np.testing.assert_allclose(alpha[0], [[first, both], [both, second]], rtol=1e-6)


# Signals of pairs


def _with_pairs(objective: str, weight: Any, bias: float, pair_weight: Any) -> Gate:
    gate = Gate(
        [f"s{n}" for n in range(len(weight))],
        pair_signals=[f"r{n}" for n in range(len(pair_weight))],
        objective=objective,
    )
    gate.build((None, len(weight)))
    gate.set_weights(
        [np.array(weight, np.float32), np.float32(bias), np.float32(pair_weight)]
    )
    return gate


@pytest.fixture
def r() -> Any:
    """Two signals of each of two items' pairs: one that turns over, one that does not."""
    return tf.constant([[[[0.0, 2.0], [1.0, 3.0]], [[-1.0, 3.0], [0.0, 2.0]]]])


def test_pair_signals_add_to_the_logit(z: Any, gaps: Any, r: Any) -> None:
    # As above, the mean of the items' logits is 1.5; the pair (0, 1) adds −1 · 1 + ½ · 3.
    gate = _with_pairs("agreement", [2.0, -1.0], 0.5, [-1.0, 0.5])
    evidence = np.log1p(np.exp(2.0)) * 0.8
    np.testing.assert_allclose(
        gate.evidence(z, gaps, r)[0], [[0, evidence], [0, 0]], rtol=1e-6
    )
    right = 2 * _sigmoid(evidence) - 1
    np.testing.assert_allclose(gate(z, gaps, r)[0], [[0, right], [0, 0]], rtol=1e-6)


def test_pair_signals_of_a_joint_gate(z: Any, gaps: Any, r: Any) -> None:
    alpha = _with_pairs("joint", [2.0, -1.0], 0.5, [-1.0, 0.5])(z, gaps, r)
    # To the items' 2.5 and 0.5 the pairs add 1, ½, 2½ and 1.
    expected = [
        [_sigmoid(3.5), (_sigmoid(3.0) + _sigmoid(1.0)) / 2],
        [(_sigmoid(3.0) + _sigmoid(5.0)) / 2, _sigmoid(1.5)],
    ]
    np.testing.assert_allclose(alpha[0], expected, rtol=1e-6)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_before_training_pair_signals_change_nothing(
    z: Any, gaps: Any, r: Any, objective: str
) -> None:
    plain = Gate(("a", "b"), objective=objective)
    wide = Gate(("a", "b"), pair_signals=("c", "d"), objective=objective)
    np.testing.assert_array_equal(plain(z, gaps), wide(z, gaps, r))
    assert len(plain.weights) == 2 and len(wide.weights) == 3


def test_a_gate_on_pairs_alone(gaps: Any, r: Any) -> None:
    gate = _with_pairs("agreement", [], 0.5, [-1.0, 0.5])
    evidence = gate.evidence(tf.zeros([1, 2, 0]), gaps, r)
    expected = [[0, np.log1p(np.exp(1.0)) * 0.8], [0, 0]]
    np.testing.assert_allclose(evidence[0], expected, rtol=1e-6)


def test_a_gate_learns_which_pairs_to_trust() -> None:
    """Right for one sign of a pair's signal and wrong for the other."""
    sign = np.array([1.0, -1.0] * 32, np.float32)
    scores = tf.constant([[0.9, 0.1]] * 64)
    gaps = score_gaps(scores, tf.fill([64, 2], True))
    r = tf.constant(sign[:, None, None, None] * np.ones((1, 2, 2, 1), np.float32))
    labels = tf.constant(np.where(sign[:, None] > 0, [[1, 0]], [[0, 1]]))
    gate, optimizer = Gate((), pair_signals=("r",)), keras.optimizers.SGD(20.0)
    z = tf.zeros([64, 2, 0])
    gate.build((None, 0))
    for _ in range(15):
        with tf.GradientTape() as tape:
            loss = agreement_loss(gate.evidence(z, gaps, r), gaps, labels)
        weights = [gate.bias, gate.pair_weight]
        optimizer.apply_gradients(
            zip(tape.gradient(loss, weights), weights, strict=True)
        )
    alpha = gate(z, gaps, r).numpy()[:, 0, 1]
    assert alpha[sign > 0].min() > 0.8 and alpha[sign < 0].max() < 0.1


def test_pair_signals_must_be_given(z: Any, gaps: Any) -> None:
    gate = Gate(("a", "b"), pair_signals=("margin",))
    with pytest.raises(ConfigError, match="as `r`. Received: r=None for margin"):
        gate(z, gaps)


def test_belief_is_the_chance_that_alpha_stands_for(z: Any, gaps: Any) -> None:
    gate = _gate("agreement", [2.0, -1.0], 0.5)
    chance = tf.sigmoid(gate.evidence(z, gaps))
    np.testing.assert_allclose(gate.belief(z, gaps), chance, rtol=1e-6)
    joint = _gate("joint", [2.0, -1.0], 0.5)
    alpha = joint(z, gaps)
    np.testing.assert_array_equal(joint.belief(z, gaps), alpha)


# What every gate holds to


def test_fixed_is_one_and_learns_nothing(z: Any, gaps: Any) -> None:
    gate = _gate("fixed", [2.0, -1.0], 0.5)
    np.testing.assert_array_equal(gate(z, gaps), np.ones((1, 2, 2)))
    assert gate.trainable_weights == []


@pytest.mark.parametrize("slope", [0.01, 3.0, 1000.0])
def test_initial_slope_is_kappa_before_training(slope: float) -> None:
    gate = Gate(("cold",), initial_slope=slope)
    gate.build((None, 1))
    evidence = gate.evidence(tf.ones([1, 2, 1]), tf.ones([1, 2, 2]))
    np.testing.assert_allclose(evidence, np.full((1, 2, 2), slope), rtol=1e-4)


def test_agreement_takes_no_gradient_from_the_hinge(z: Any, gaps: Any) -> None:
    gate = _gate("agreement", [2.0, -1.0], 0.5)
    with tf.GradientTape() as tape:
        loss = PairwiseHinge()(tf.zeros([1, 2]), gaps, gate(z, gaps))
    assert float(loss) > 0
    assert tape.gradient(loss, gate.trainable_weights) == [None, None]


def test_agreement_gives_no_weight_without_evidence(z: Any, gaps: Any) -> None:
    no_slope = _gate("agreement", [0.0, 0.0], -1e4)
    np.testing.assert_array_equal(no_slope(z, gaps), np.zeros((1, 2, 2)))
    no_gap = _gate("agreement", [0.0, 0.0], 1e4)
    np.testing.assert_array_equal(no_gap(z, tf.zeros_like(gaps)), np.zeros((1, 2, 2)))


@pytest.mark.parametrize("objective", OBJECTIVES)
@_EVERY
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_alpha_is_in_the_unit_interval(objective: str, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    gate = _gate(objective, list(rng.normal(0, scale, 3)), rng.normal(0, scale))
    scores = tf.constant(rng.random((2, 4)), tf.float32)
    alpha = gate(
        tf.constant(rng.random((2, 4, 3)), tf.float32),
        score_gaps(scores, tf.constant(rng.random((2, 4)) < 0.8)),
    ).numpy()
    assert alpha.shape == (2, 4, 4)
    assert (alpha >= 0).all() and (alpha <= 1).all()


@_EVERY
@given(seed=st.integers(0, 2**31))
def test_every_gradient_of_the_hinge_closes_a_joint_gate(seed: int) -> None:
    """The documented collapse: descent can only lower α."""
    rng = np.random.default_rng(seed)
    gate = _gate("joint", list(rng.normal(size=2)), rng.normal())
    z = tf.constant(rng.random((3, 4, 2)), tf.float32)
    gaps = score_gaps(
        tf.constant(rng.random((3, 4)), tf.float32), tf.fill([3, 4], True)
    )
    logits = tf.constant(rng.normal(size=(3, 4)), tf.float32)
    with tf.GradientTape() as tape:
        loss = PairwiseHinge()(logits, gaps, gate(z, gaps))
    for gradient in tape.gradient(loss, gate.trainable_weights):
        assert (gradient.numpy() >= 0).all()


def test_config_round_trip() -> None:
    gate = Gate(
        ("cold", "price"),
        pair_signals=("margin",),
        objective="joint",
        initial_slope=2.0,
        name="mine",
    )
    twin = keras.utils.deserialize_keras_object(
        keras.utils.serialize_keras_object(gate)
    )
    assert twin.get_config() == gate.get_config()
    assert twin.signals == ("cold", "price") and twin.name == "mine"
    assert twin.pair_signals == ("margin",)


def test_a_saved_gate_of_before_pair_signals_loads() -> None:
    config = Gate().get_config()
    del config["pair_signals"]
    assert Gate.from_config(config).pair_signals == ()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_frozen_gate_stays_frozen(objective: str) -> None:
    gate = Gate(objective=objective, trainable=False)
    assert not gate.trainable
    assert not Gate.from_config(gate.get_config()).trainable


def test_the_gate_computes_in_full_precision(z: Any, gaps: Any) -> None:
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        alpha = _gate("agreement", [2.0, -1.0], 0.5)(z, gaps)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert alpha.dtype == tf.float32


def test_errors() -> None:
    with pytest.raises(ConfigError, match="agreement, joint, fixed.*'free'"):
        Gate(objective="free")
    with pytest.raises(ConfigError, match="at least one signal, each once.*none"):
        Gate(())
    with pytest.raises(ConfigError, match="each once. Received: cold, tail, cold"):
        Gate(("cold", "tail"), pair_signals=("cold",))
    for slope in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="`initial_slope` must be positive"):
            Gate(initial_slope=slope)


# A prior: a reference model's margins beside the LLM's gaps


def test_odds_add_up_the_witnesses() -> None:
    gate = Gate(("tail",), initial_slope=2.0, prior=True)
    gate.build((None, 1))
    z, gaps = tf.zeros([2, 1]), tf.constant([[0.0, 0.5], [0.0, 0.0]])
    margins = tf.constant([[0.0, -3.0], [3.0, 0.0]])
    # κ is 2 and ρ is 1 before training.
    odds = gate.odds(z, gaps, margins=margins)
    np.testing.assert_allclose(odds, [[0, 1 - 3], [3, 0]], rtol=1e-5)
    np.testing.assert_allclose(
        gate.belief(z, gaps, margins=margins)[0, 1], 1 / (1 + np.exp(2)), rtol=1e-5
    )
    # The LLM's own weight leaves the prior out.
    np.testing.assert_allclose(gate(z, gaps)[0, 1], np.tanh(0.5), rtol=1e-5)


def test_each_witness_has_weights_of_its_own() -> None:
    gate = Gate(("tail",), prior=True)
    gate.build((None, 1))
    gate.prior_weight.assign([-50.0])
    tail = tf.ones([2, 1])
    gaps, margins = tf.constant([[0.0, 0.5], [0, 0]]), tf.constant([[0.0, 9], [-9, 0]])
    np.testing.assert_allclose(
        gate.odds(tail, gaps, margins=margins), gate.evidence(tail, gaps), atol=1e-5
    )


def test_a_prior_is_kept_in_the_config() -> None:
    gate = Gate(prior=True)
    assert Gate.from_config(gate.get_config()).prior
    gate.build((None, 3))
    assert len(gate.trainable_weights) == 4


def test_a_joint_gate_has_no_prior() -> None:
    with pytest.raises(ConfigError, match="'agreement' or 'fixed'. Received: .*joint"):
        Gate(objective="joint", prior=True)
