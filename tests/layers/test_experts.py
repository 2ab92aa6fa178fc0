from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.experts import Experts
from keras_sllmr.layers.hybrid_experts import HybridExperts

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
UNITS = (8, 4)


def _random_weights(layer: Any, seed: int = 1) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape))
    return [weight.numpy() for weight in layer.weights]


def _perceptrons(x: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Each expert by itself; the weights are the kernel and the bias of each layer."""
    out = []
    for k in range(len(weights[0])):
        hidden = x
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            hidden = np.maximum(hidden @ kernel[k] + bias[k], 0)
        out.append(hidden)
    return np.stack(out, axis=1)


def _towers(**options: Any) -> tuple[Experts, HybridExperts, HybridExperts]:
    shared = Experts(2, UNITS, **options)
    towers = [HybridExperts(3, UNITS, name=name, **options) for name in "ui"]
    for tower in towers:
        tower([X, shared(X)])
    return shared, towers[0], towers[1]


def test_experts_equal_numpy() -> None:
    layer = Experts(3, (7, 6, 4))
    layer.build((None, 5))
    weights = _random_weights(layer)
    by_layer = [w for pair in zip(layer.kernels, layer.biases) for w in pair]  # noqa: B905
    expected = _perceptrons(X, [w.numpy() for w in by_layer])
    assert len(weights) == 6 and expected.any()
    np.testing.assert_allclose(layer(X), expected, rtol=1e-5, atol=1e-6)
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(compiled(X), expected, rtol=1e-5, atol=1e-6)


def test_a_mixture_equals_numpy() -> None:
    shared, user, _ = _towers()
    _random_weights(shared), _random_weights(user, 2)
    own = user.experts
    by_layer = [
        [w.numpy() for k in range(2) for w in (one.kernels[k], one.biases[k])]
        for one in (shared, own)
    ]
    experts = np.concatenate([_perceptrons(X, w) for w in by_layer], axis=1)
    odds = np.exp(X @ user.gate_kernel.numpy() + user.gate_bias.numpy())
    gate = odds / odds.sum(axis=1, keepdims=True)
    assert gate.shape == (6, 5)
    expected = (gate[:, :, np.newaxis] * experts).sum(axis=1)
    np.testing.assert_allclose(user([X, shared(X)]), expected, rtol=1e-5, atol=1e-6)


def test_towers_share_the_shared_experts_alone() -> None:
    shared, user, item = _towers()
    with tf.GradientTape() as tape:
        user_out, item_out = user([X, shared(X)]), item([X, shared(X)])
        loss = tf.reduce_sum(user_out**2) + tf.reduce_sum(item_out**2)
    assert not np.allclose(user_out, item_out)
    variables = [v for layer in (shared, user, item) for v in layer.trainable_variables]
    assert len({id(v) for v in variables}) == len(variables) == 4 + 6 + 6
    for gradient in tape.gradient(loss, variables):
        assert np.isfinite(gradient).all() and np.any(gradient)


def test_experts_start_apart_with_glorots_spread() -> None:
    layer = Experts(4, (300, 200), seed=3)
    layer.build((None, 100))
    first, second = layer.kernels[0].numpy(), layer.kernels[1].numpy()
    assert first.shape == (4, 100, 300) and second.shape == (4, 300, 200)
    assert not np.array_equal(first[0], first[1])
    assert first.std() == pytest.approx(np.sqrt(2 / 400), rel=0.02)
    assert second.std() == pytest.approx(np.sqrt(2 / 500), rel=0.02)


def test_dropout_is_of_training_alone_after_every_layer() -> None:
    layer = Experts(1, (2000,), dropout=0.25)
    layer.build((None, 1))
    layer.set_weights([np.ones((1, 1, 2000)), np.zeros((1, 2000))])
    x = tf.ones([1, 1])
    np.testing.assert_array_equal(layer(x), np.ones((1, 1, 2000)))
    dropped = layer(x, training=True).numpy()
    assert set(np.unique(dropped.round(4))) == {0, np.float32(1.3333)}
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.05)


def test_a_seed_fixes_the_weights() -> None:
    results = []
    for seed in (5, 5, 6):
        shared, user, _ = _towers(seed=seed)
        results.append(user([X, shared(X)]).numpy())
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_half_precision() -> None:
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    shared, user, _ = _towers(seed=1, dtype=policy)
    out = user([X, shared(X)], training=True)
    assert out.dtype == shared(X).dtype == tf.bfloat16
    assert {weight.dtype for weight in user.weights} == {tf.float32}
    plain_shared, plain, _ = _towers(seed=1)
    expected = plain([X, plain_shared(X)])
    np.testing.assert_allclose(
        tf.cast(user([X, shared(X)]), tf.float32), expected, atol=0.03
    )


def test_a_saved_model(tmp_path: Path) -> None:
    shared, user, item = _towers(dropout=0.2, seed=4)
    x, y = keras.Input((5,)), keras.Input((5,))
    outs = [user([x, shared(x)]), item([y, shared(y)])]
    model = keras.Model([x, y], keras.layers.concatenate(outs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert len(loaded.weights) == len(model.weights)
    assert loaded.get_layer("u").get_config() == user.get_config()
    np.testing.assert_array_equal(model([X, -X]), loaded([X, -X]))
    assert model([X, -X]).shape == (6, 8)


def test_wrong_arguments() -> None:
    for arguments in [(0, UNITS), (2, ()), (2, (8, 0))]:
        with pytest.raises(ConfigError, match="one expert or more"):
            Experts(*arguments)
    with pytest.raises(ConfigError, match="`dropout` must be in"):
        Experts(2, dropout=1.0)
    with pytest.raises(ConfigError, match="`n_specific` must be at least 1"):
        HybridExperts(0)
    with pytest.raises(ConfigError, match="as wide as the tower's own"):
        HybridExperts(3, (8, 4))([X, Experts(2, (8, 5))(X)])
