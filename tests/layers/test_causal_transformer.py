from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.causal_attention import CausalAttention
from keras_sllmr.layers.causal_transformer import CausalTransformer
from keras_sllmr.layers.rms_norm import RMSNorm
from keras_sllmr.layers.rotary import rotary
from keras_sllmr.layers.swiglu import SwiGLU

X = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)
VALID = np.array([[1, 1, 1, 1, 1], [0, 0, 1, 0, 1], [0, 0, 0, 0, 0]], bool)


def _random_weights(layer: Any) -> None:
    rng = np.random.default_rng(1)
    for weight in layer.weights:
        weight.assign(rng.normal(0.2, 0.5, weight.shape))


def _rms_norm(layer: RMSNorm, x: np.ndarray) -> np.ndarray:
    size = np.sqrt((x**2).mean(axis=-1, keepdims=True) + layer.epsilon)
    return x / size * layer.scale.numpy()


def _rotary(vector: np.ndarray, place: int, base: float = 10000.0) -> np.ndarray:
    """One vector as complex numbers, each turned by its angle."""
    half = len(vector) // 2
    turned = (vector[:half] + 1j * vector[half:]) * np.exp(
        1j * place * base ** (-2 * np.arange(half) / len(vector))
    )
    return np.concatenate([turned.real, turned.imag])


def _attention(layer: CausalAttention, x: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Head by head and token by token, with the allowed keys alone."""
    query, key, value = (x @ w.numpy() for w in (layer.query, layer.key, layer.value))
    out = np.zeros_like(x)
    width = x.shape[-1] // layer.heads
    for row in range(len(x)):
        for head in range(layer.heads):
            part = slice(head * width, (head + 1) * width)
            for t in range(x.shape[1]):
                keys = [s for s in range(t + 1) if valid[row, s]]
                if not keys:
                    continue
                q = _rotary(query[row, t, part], t)
                odds = np.exp(
                    [q @ _rotary(key[row, s, part], s) / np.sqrt(width) for s in keys]
                )
                out[row, t, part] = odds / odds.sum() @ value[row, keys, part]
    return out @ layer.out.numpy()


def _swiglu(layer: SwiGLU, x: np.ndarray) -> np.ndarray:
    gate = x @ layer.gate.numpy()
    return (gate / (1 + np.exp(-gate)) * (x @ layer.up.numpy())) @ layer.down.numpy()


def test_rms_norm_by_hand_and_as_numpy() -> None:
    layer = RMSNorm(epsilon=0.5)
    layer.build((None, 2))
    layer.set_weights([np.array([1.0, 10.0])])
    # Mean square ½ (0 + 3) = 1.5, with ε = ½ a size of √2.
    expected = [[0, 10 * np.sqrt(1.5)]]
    np.testing.assert_allclose(
        layer(tf.constant([[0.0, 3.0**0.5]])), expected, rtol=1e-6
    )
    wide = RMSNorm()
    wide.build(X.shape)
    _random_weights(wide)
    np.testing.assert_allclose(wide(X), _rms_norm(wide, X), rtol=1e-5, atol=1e-6)


def test_rms_norm_of_zeros_and_of_large_half_precision_numbers() -> None:
    layer = RMSNorm()
    zeros = tf.zeros([2, 4])
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        out = layer(zeros)
    np.testing.assert_array_equal(out, zeros)
    assert np.isfinite(tape.gradient(out, zeros)).all()
    half = RMSNorm(dtype=keras.mixed_precision.Policy("mixed_float16"))
    # Their squares are beyond float16.
    np.testing.assert_array_equal(half(tf.fill([1, 4], 1000.0)), np.ones((1, 4)))


def test_rotary_equals_complex_rotation() -> None:
    x = X.reshape(3, 1, 5, 8)
    turned = rotary(tf.constant(x), base=50.0).numpy()
    for place in range(5):
        for row in range(3):
            expected = _rotary(x[row, 0, place], place, base=50.0)
            np.testing.assert_allclose(turned[row, 0, place], expected, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32)
)
def test_rotary_keeps_lengths_and_knows_distances_alone(
    first: int, second: int, shift: int, seed: int
) -> None:
    query, key = np.random.default_rng(seed).normal(size=(2, 6)).astype(np.float32)

    def at(vector: np.ndarray) -> np.ndarray:
        return rotary(tf.constant(np.tile(vector, (1, 1, 81, 1)))).numpy()[0, 0]

    queries, keys = at(query), at(key)
    sizes = np.linalg.norm(queries, axis=-1)
    np.testing.assert_allclose(sizes, np.linalg.norm(query), rtol=1e-5)
    product = queries[first] @ keys[second]
    later = queries[first + shift] @ keys[second + shift]
    assert later == pytest.approx(product, abs=1e-4)


def test_swiglu_equals_numpy() -> None:
    layer = SwiGLU(hidden=5)
    layer.build(X.shape)
    _random_weights(layer)
    np.testing.assert_allclose(layer(X), _swiglu(layer, X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_equals_numpy(heads: int) -> None:
    layer = CausalAttention(heads)
    layer.build(X.shape)
    _random_weights(layer)
    every = np.ones_like(VALID)
    np.testing.assert_allclose(layer(X), _attention(layer, X, every), atol=1e-5)
    expected = _attention(layer, X, VALID)
    found = layer(X, valid=tf.constant(VALID))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # Without an allowed key: zeros.
    assert not found[1, :2].numpy().any() and not found[2].numpy().any()
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(compiled(X, valid=VALID), expected, atol=1e-5)


def test_transformer_equals_numpy() -> None:
    layer = CausalTransformer(blocks=2, heads=2, hidden=6)
    layer.build(X.shape)
    _random_weights(layer)
    x = X.astype(np.float64)
    for block in range(2):
        before, between = layer.norms[2 * block : 2 * block + 2]
        x = x + _attention(layer.attentions[block], _rms_norm(before, x), VALID)
        x = x + _swiglu(layer.feeds[block], _rms_norm(between, x))
    expected = _rms_norm(layer.norms[-1], x)
    found = layer(X, valid=tf.constant(VALID))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 4), st.booleans(), st.integers(0, 2**32))
def test_what_comes_later_or_is_masked_changes_nothing(
    place: int, by_mask: bool, seed: int
) -> None:
    layer = CausalTransformer(seed=0)
    valid = np.ones((3, 5), bool)
    changed = X.copy()
    changed[:, place] += np.random.default_rng(seed).normal(0, 10, (3, 8))
    seen = np.arange(5) < place
    if by_mask:
        valid[:, place] = False
        seen = np.arange(5) != place
    before, after = (layer(x, valid=tf.constant(valid)) for x in (X, changed))
    np.testing.assert_array_equal(before.numpy()[:, seen], after.numpy()[:, seen])
    assert not np.allclose(before[:, place], after[:, place])


def test_gradients_stay_finite() -> None:
    layer = CausalTransformer(seed=0)
    x = tf.concat([X, tf.zeros([1, 5, 8]), tf.fill([1, 5, 8], 1e4)], axis=0)
    valid = tf.concat([VALID, [[True] * 5, [False, True, True, True, False]]], axis=0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, valid=valid) ** 2)
    gradients = tape.gradient(loss, [x, *layer.trainable_variables])
    assert len(gradients) == 1 + 2 * (4 + 3) + 5
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_a_seed_fixes_the_weights() -> None:
    first, same, other = (CausalTransformer(seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first(X), same(X))
    assert not np.allclose(first(X), other(X))
    kernels = [w.numpy() for w in first.trainable_variables if w.shape == (8, 8)]
    assert len({kernel.tobytes() for kernel in kernels}) == 8


def test_half_precision() -> None:
    policy = keras.mixed_precision.Policy("mixed_bfloat16")
    layer, plain = CausalTransformer(seed=1, dtype=policy), CausalTransformer(seed=1)
    out = layer(X, valid=tf.constant(VALID))
    assert out.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} == {tf.float32}
    expected = plain(X, valid=tf.constant(VALID))
    np.testing.assert_allclose(tf.cast(out, tf.float32), expected, atol=0.1)


@pytest.mark.parametrize("masked", [False, True])
def test_a_saved_model(tmp_path: Path, masked: bool) -> None:
    x, valid = keras.Input((None, 8)), keras.Input((None,), dtype=tf.bool)
    layer = CausalTransformer(blocks=1, heads=4, hidden=6, seed=3)
    states = layer(x, valid=valid) if masked else layer(x)
    model = keras.Model([x, valid], states)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    np.testing.assert_array_equal(model([X, VALID]), loaded([X, VALID]))
    changed = X.copy()
    changed[:, 0] = 3
    seen = loaded([changed, VALID])[1, 1:].numpy()
    same = np.array_equal(seen, model([X, VALID])[1, 1:])
    assert same is masked


@pytest.mark.parametrize("layer", [CausalAttention(4), SwiGLU(5), RMSNorm(1e-3)])
def test_a_saved_layer(tmp_path: Path, layer: Any) -> None:
    x = keras.Input((5, 8))
    model = keras.Model(x, layer(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[-1].get_config() == layer.get_config()
    np.testing.assert_array_equal(model(X), loaded(X))


def test_wrong_arguments() -> None:
    with pytest.raises(ConfigError, match="`heads` must be at least 1"):
        CausalAttention(0)
    for heads, width in [(3, 8), (2, 6)]:
        with pytest.raises(ConfigError, match="heads of an even width"):
            CausalAttention(heads)(tf.ones([1, 2, width]))
    with pytest.raises(ConfigError, match="`hidden` must be at least 1"):
        SwiGLU(0)
    with pytest.raises(ConfigError, match="`blocks` must be at least 1"):
        CausalTransformer(blocks=0)
    with pytest.raises(ConfigError, match="`epsilon` must be positive"):
        RMSNorm(0.0)
    with pytest.raises(ConfigError, match="an even width"):
        rotary(tf.ones([1, 1, 2, 3]))
    with pytest.raises(ConfigError, match="`base` must be above 1"):
        rotary(tf.ones([1, 1, 2, 4]), base=1.0)
