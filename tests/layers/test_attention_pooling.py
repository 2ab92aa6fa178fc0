from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.attention_pooling import AttentionPooling

# Full, gaps in front, behind and between, and empty.
FILLED = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 0, 0], [1, 0, 0, 1], [0] * 4]) > 0
Same = Callable[..., None]


def _inputs(rows: int = 5, length: int = 4, dim: int = 3) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    shapes = (rows, 1, dim), (rows, length, dim)
    query, keys = (tf.constant(rng.normal(size=s), tf.float32) for s in shapes)
    return query, keys


def _call(filled: Any = FILLED, **options: Any) -> Callable[..., Any]:
    """Calls a layer on keys that are zeros where they are masked."""
    mask = tf.constant(filled)

    def call(layer: Any, query: Any, keys: Any) -> Any:
        keys = keys * tf.cast(mask, keys.dtype)[:, :, tf.newaxis]
        return layer([query, keys], mask=[None, mask], **options)

    return call


def _both(*arguments: Any, **options: Any) -> tuple[Any, Any]:
    options = {"supports_masking": True, **options}
    kinds = AttentionPooling, deepctr_layers.AttentionSequencePoolingLayer
    ours, theirs = (kind(*arguments, **options) for kind in kinds)
    return ours, theirs


@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("activation", ["dice", "sigmoid", "softmax"])
@pytest.mark.parametrize("normalized", [True, False])
def test_equals_deepctrs_layer(
    normalized: bool, activation: str, training: bool | None, assert_same_layer: Same
) -> None:
    ours, theirs = _both((5, 3), activation, weight_normalization=normalized)
    call = _call(training=training)
    assert_same_layer(ours, theirs, *_inputs(), call=call)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("filled", [True, False])
def test_all_filled_and_all_empty(
    filled: bool, training: bool, assert_same_layer: Same
) -> None:
    call = _call(np.full((5, 4), filled), training=training)
    assert_same_layer(*_both((5, 3), "dice"), *_inputs(), call=call)


@pytest.mark.parametrize("normalized", [True, False])
def test_scores(normalized: bool, assert_same_layer: Same) -> None:
    options = {"weight_normalization": normalized, "return_score": True}
    call = _call(training=True)
    assert_same_layer(*_both((5,), "dice", **options), *_inputs(), call=call)


def test_lengths_instead_of_a_mask(assert_same_layer: Same) -> None:
    lengths = tf.constant([[4], [1], [0], [2], [3]])
    mask = tf.sequence_mask(lengths[:, 0], 4, tf.float32)[:, :, tf.newaxis]

    def call(layer: Any, query: Any, keys: Any) -> Any:
        return layer([query, keys * mask, lengths], training=True)

    both = _both((5, 3), "dice", supports_masking=False)
    assert_same_layer(*both, *_inputs(), call=call)


class _Scaled(keras.layers.Layer):
    """An activation that sees the whole batch."""

    def call(self, x: Any) -> Any:
        return x / (1 + tf.reduce_max(tf.abs(x)))


@pytest.mark.parametrize("units", [(5,), ()])
def test_what_deepctr_computes(units: Any, assert_same_layer: Same) -> None:
    call = _call(training=True)
    assert_same_layer(*_both(units, _Scaled), *_inputs(), call=call)


def test_a_score_by_hand() -> None:
    layer = AttentionPooling([1], "relu", supports_masking=True)
    query, keys = tf.constant([[[2.0]]]), tf.constant([[[3.0], [0.0], [5.0]]])
    inputs, mask = [query, keys], [None, tf.constant([[True, False, True]])]
    layer(inputs, mask=mask)
    by_name = {"kernel": [[0.5]], "bias": [0.25]}
    by_name |= {"kernel0": [[1.0], [10.0], [3.0], [1.0]], "bias0": [-7.0]}
    layer.set_weights(
        [
            np.reshape(by_name[weight.name.split("/")[-1][:-2]], weight.shape)
            for weight in layer.weights
        ]
    )
    # [q, k, q - k, q k] · w - 7 of k = 3 and 5: 28 and 46; a = 14.25 and 23.25
    np.testing.assert_allclose(layer(inputs, mask=mask), [[[3 * 14.25 + 5 * 23.25]]])


def test_frozen_statistics_are_used_and_kept(assert_same_layer: Same) -> None:
    both = _both((5, 3), "dice")
    for layer in both:
        _call()(layer, *_inputs())
        for one in layer.local_att.dnn.activation_layers:
            one.bn.trainable = False
    assert_same_layer(*both, *_inputs(), call=_call(training=True))


def test_a_promised_mask_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="Keras mask.*Received"):
        AttentionPooling([2], supports_masking=True)(list(_inputs()))


def test_in_a_graph_of_any_batch_size() -> None:
    layer = AttentionPooling([5, 3], "dice", supports_masking=True)
    query, keys = _inputs()
    expected = _call(training=False)(layer, query, keys)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 1, 3]), tf.TensorSpec([None, 4, 3])]
    )
    def run(query: Any, keys: Any) -> Any:
        return _call(FILLED[:2], training=False)(layer, query, keys)

    np.testing.assert_allclose(run(query[:2], keys[:2]), expected[:2], rtol=1e-5)


def _masked_model(**options: Any) -> Any:
    query, keys = keras.Input((1, 3)), keras.Input((4, 3))
    masked = keras.layers.Masking()(keys)
    pooled = AttentionPooling([5, 3], "dice", supports_masking=True)([query, masked])
    return keras.Model([query, keys], pooled, **options)


def test_survives_saving_and_compiles(tmp_path: Any) -> None:
    model = _masked_model()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    query, keys = _inputs()
    inputs = [query, keys * FILLED[:, :, np.newaxis]]
    expected = model(inputs)
    np.testing.assert_array_equal(loaded(inputs), expected)
    compiled = tf.function(model, jit_compile=True)(inputs)
    np.testing.assert_allclose(compiled, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def mixed() -> Iterator[None]:
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    yield
    keras.mixed_precision.set_global_policy(before)


def test_half_precision(mixed: None) -> None:
    ours, theirs = _both((5, 3), "dice")
    found = [_call(training=True)(layer, *_inputs()) for layer in (ours, theirs)]
    theirs.set_weights(ours.get_weights())
    found = [_call(training=True)(layer, *_inputs()) for layer in (ours, theirs)]
    assert {one.dtype for one in found} == {tf.bfloat16}
    one, other = (tf.cast(one, tf.float32) for one in found)
    np.testing.assert_allclose(one, other, rtol=0.1, atol=0.05 * np.abs(other).max())
