from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.in_context import InContext

RNG = np.random.default_rng(2)
BATCH, K, FIELDS, VECTOR, WIDTH = 3, 2, 5, 6, 8
ROW = RNG.normal(size=(BATCH, FIELDS)).astype(np.float32)
EXAMPLES = RNG.normal(size=(BATCH * K, FIELDS)).astype(np.float32)
CHAINS = RNG.normal(size=(BATCH * K, VECTOR)).astype(np.float32)
LABELS = np.array([1, 0, 0, 1, 0, 0], np.int32)
# The second row has one example, the last one none.
INDEX = np.array([[4, 2], [0, 3], [0, 0]], np.int32)
INPUTS = (ROW, EXAMPLES, CHAINS, LABELS, INDEX)


def _layer(**options: Any) -> InContext:
    layer = InContext(WIDTH, row_units=7, chain_units=4, hidden=6, **options)
    layer([tf.constant(x) for x in INPUTS])
    rng = np.random.default_rng(3)
    for weight in layer.weights:
        weight.assign(rng.normal(0.1, 0.5, weight.shape))
    return layer


def _mlp(model: Any, x: np.ndarray) -> np.ndarray:
    kernel, bias, out, out_bias = model.get_weights()
    return np.maximum(x @ kernel + bias, 0) @ out + out_bias


def _states(layer: InContext) -> np.ndarray:
    """The hidden states of tokens that are put together one by one."""
    row, example = _mlp(layer._row, ROW), _mlp(layer._row, EXAMPLES)
    chain, label = _mlp(layer._chain, CHAINS), layer._label.numpy()
    tokens = np.zeros((BATCH, 3 * K + 1, WIDTH), np.float32)
    valid = np.ones(tokens.shape[:2], bool)
    for b in range(BATCH):
        for k in range(K):
            place = b * K + k
            parts = example[place], chain[place], label[LABELS[place]]
            tokens[b, 3 * k : 3 * k + 3] = parts
            valid[b, 3 * k : 3 * k + 3] = INDEX[b, k] > 0
        tokens[b, -1] = row[b]
    transformer = layer._transformer
    return np.asarray(transformer(tf.constant(tokens), valid=tf.constant(valid)))


def test_it_is_the_rows_state_after_the_examples() -> None:
    layer = _layer()
    expected = _states(layer)[:, -1]
    np.testing.assert_allclose(layer(INPUTS), expected, atol=1e-5)
    assert not layer.losses


def test_reconstruction_by_hand() -> None:
    layer = _layer(reconstruction=3.0)
    layer(INPUTS, training=True)
    guessed = _mlp(layer._foretell, _states(layer)[:, [0, 3]].reshape(-1, WIDTH))
    there = INDEX.ravel() > 0
    sizes = np.linalg.norm(guessed, axis=1) * np.linalg.norm(CHAINS, axis=1)
    cosine = ((guessed * CHAINS).sum(axis=1) / sizes)[there].mean()
    (loss,) = layer.losses
    assert float(loss) == pytest.approx(3 * (1 - cosine), rel=1e-4)


def test_no_reconstruction_where_it_weighs_nothing() -> None:
    layer = _layer(reconstruction=0.0)
    layer(INPUTS, training=True)
    assert not layer.losses


def test_what_is_no_example_does_not_count() -> None:
    layer = _layer()
    other = [x.copy() for x in INPUTS]
    absent = INDEX.ravel() == 0
    other[1][absent], other[2][absent], other[3][absent] = 9.0, 9.0, 1
    np.testing.assert_allclose(layer(other), layer(INPUTS), atol=1e-6)
    changed = [x.copy() for x in INPUTS]
    changed[1][0] += 1
    moved = np.abs(layer(changed).numpy() - layer(INPUTS).numpy()).max(axis=1) > 1e-4
    assert moved.tolist() == [True, False, False]


def test_labels_count() -> None:
    layer = _layer()
    flipped = [*INPUTS[:3], 1 - LABELS, INDEX]
    moved = np.abs(layer(flipped).numpy() - layer(INPUTS).numpy()).max(axis=1) > 1e-4
    assert moved.tolist() == [True, True, False]


def test_gradients_without_examples_are_finite() -> None:
    layer = _layer()
    none = [*INPUTS[:4], np.zeros_like(INDEX)]
    with tf.GradientTape() as tape:
        out = tf.reduce_sum(layer(none, training=True)) + tf.add_n(layer.losses)
    gradients = tape.gradient(
        out, layer.trainable_weights, unconnected_gradients="zero"
    )
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients)


def test_saved_and_loaded(tmp_path: Path) -> None:
    shapes = [(FIELDS,), (FIELDS,), (VECTOR,), (), (K,)]
    dtypes = ["float32"] * 3 + ["int32"] * 2
    inputs = [
        keras.Input(shape, dtype=dtype)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    model = keras.Model(inputs, _layer(reconstruction=0.5, seed=4)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    layer = loaded.layers[-1]
    assert (layer.reconstruction, layer.seed) == (0.5, 4)
    np.testing.assert_allclose(
        layer([tf.constant(x) for x in INPUTS]),
        model.layers[-1]([tf.constant(x) for x in INPUTS]),
        atol=1e-6,
    )


def test_seeds() -> None:
    def weights(seed: int) -> np.ndarray:
        keras.utils.set_random_seed(1)
        layer = InContext(WIDTH, seed=seed)
        layer([tf.constant(x) for x in INPUTS])
        return np.concatenate([w.ravel() for w in layer._transformer.get_weights()])

    np.testing.assert_array_equal(weights(1), weights(1))
    assert (weights(1) != weights(2)).any()
