from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.training.uncertainty import (
    UNCERTAINTIES,
    Confidence,
    Ensemble,
    Entropy,
    MCDropout,
    confidence,
    entropy,
    uncertainty_named,
)

_EVERY = settings(max_examples=8, deadline=None)
BOTH = pytest.mark.parametrize("measure", [entropy, confidence])

# Of the model itself


def test_hand_computed() -> None:
    logit = np.log(3)  # p = 3/4
    expected = -(0.75 * np.log2(0.75) + 0.25 * np.log2(0.25))
    np.testing.assert_allclose(entropy([0.0, logit]), [1, expected], rtol=1e-6)


def test_confidence_by_hand() -> None:
    # p = ½, ¾ and ¼: the lesser of p and 1 − p, doubled.
    logits = tf.constant([0.0, np.log(3.0), -np.log(3.0)], tf.float32)
    np.testing.assert_allclose(confidence(logits), [1, 0.5, 0.5], rtol=1e-6)


@BOTH
def test_symmetric_and_falling_with_distance(measure: Any) -> None:
    logits = np.linspace(0, 30, 61, dtype=np.float32)
    values = measure(logits).numpy()
    np.testing.assert_allclose(values, measure(-logits), atol=1e-5)
    assert (np.diff(values) < 1e-5).all() and values[-1] < 1e-5


@BOTH
@pytest.mark.parametrize("logit", [1e4, -1e4, 1e30, -1e30])
def test_far_out_is_zero_and_not_nan(measure: Any, logit: float) -> None:
    assert float(measure(logit)) == 0


@BOTH
def test_half_precision_gives_full(measure: Any) -> None:
    values = measure(tf.constant([[0.0, 9.0]], tf.float16))
    assert values.dtype == tf.float32 and values.shape == (1, 2)


# Of passes and of models


def _backbone(
    *, dropout: float = 0.0, normalise: bool = False, seed: int = 0, scale: float = 1.0
) -> Any:
    keras.utils.set_random_seed(seed)
    features = {"x": keras.Input((3,), name="x")}
    hidden = keras.layers.Dense(8)(features["x"])
    if normalise:
        hidden = keras.layers.BatchNormalization()(hidden)
    if dropout:
        hidden = keras.layers.Dropout(dropout)(hidden)
    return keras.Model(features, keras.layers.Dense(1)(scale * hidden))


ROWS = {"x": tf.constant(np.random.default_rng(2).normal(size=(6, 3)), tf.float32)}


def _logits(backbone: Any) -> Any:
    return tf.reshape(backbone(ROWS), [2, 3])


class _Constant:
    """A backbone that gives set logits, pass by pass."""

    submodules = ()

    def __init__(self, passes: Any) -> None:
        self.passes = np.asarray(passes, np.float32)

    def __call__(self, rows: Any, training: bool) -> Any:
        assert training and rows["x"].shape[0] == self.passes.size
        return tf.reshape(self.passes, [-1, 1])


def test_mc_dropout_by_hand() -> None:
    # Probabilities ½ and ¾, and 0 and 1, in the two passes of two rows.
    backbone = _Constant([[0.0, -1e3], [np.log(3.0), 1e3]])
    rows = {"x": tf.zeros([2, 3])}
    q = MCDropout(passes=2)(tf.zeros([1, 2]), rows, backbone)
    np.testing.assert_allclose(q, [[0.125**2 / 0.25, 1]], rtol=1e-6)


@pytest.mark.parametrize("normalise", [False, True])
def test_mc_dropout_of_a_backbone_without_dropout_is_zero(normalise: bool) -> None:
    backbone = _backbone(normalise=normalise)
    q = MCDropout()(_logits(backbone), ROWS, backbone)
    np.testing.assert_allclose(q, np.zeros((2, 3)), atol=1e-10)


def test_mc_dropout_of_a_backbone_with_dropout_is_not() -> None:
    backbone = _backbone(dropout=0.5)
    q = MCDropout()(_logits(backbone), ROWS, backbone)
    assert q.shape == (2, 3) and (q.numpy() > 0).all()


@pytest.mark.parametrize("graph", [False, True])
def test_mc_dropout_leaves_statistics_and_layers_alone(graph: bool) -> None:
    backbone = _backbone(dropout=0.5, normalise=True)
    frozen = backbone.layers[1]
    frozen.trainable = False
    before = [weight.numpy() for weight in backbone.weights]
    trainable = [layer.trainable for layer in backbone.layers]
    uncertainty = MCDropout()

    def ask() -> Any:
        return uncertainty(_logits(backbone), ROWS, backbone)

    (tf.function(ask) if graph else ask)()
    for weight, old in zip(backbone.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert [layer.trainable for layer in backbone.layers] == trainable


def test_a_backbone_that_fails_is_left_as_it_was() -> None:
    backbone = _backbone(normalise=True)
    with pytest.raises(ValueError, match="incompatible|expected"):
        MCDropout()(tf.zeros([2, 3]), {"x": tf.zeros([6, 4])}, backbone)
    assert all(layer.trainable for layer in backbone.layers)


def test_ensemble_by_hand() -> None:
    others = [_backbone(seed=1), _backbone(seed=2)]
    logits = tf.constant([[0.5, -1.0, 2.0], [0.0, 1e3, -1e3]])
    columns = [logits.numpy().ravel(), *(np.ravel(m(ROWS)) for m in others)]
    p = 1 / (1 + np.exp(-np.array(columns, np.float64).clip(-500, 500)))
    expected = p.var(axis=0).reshape(2, 3) / 0.25
    q = Ensemble(others)(logits, ROWS)
    np.testing.assert_allclose(q, expected, rtol=1e-4)


def test_an_ensemble_that_agrees_is_certain() -> None:
    backbone = _backbone()
    q = Ensemble([backbone, backbone])(_logits(backbone), ROWS)
    np.testing.assert_allclose(q, np.zeros((2, 3)), atol=1e-10)


def test_an_ensemble_reads_the_features_that_each_model_knows() -> None:
    other, rows = _backbone(seed=1), {**ROWS, "more": tf.zeros([6])}
    logits = tf.zeros([2, 3])
    layer = Ensemble([other])
    np.testing.assert_array_equal(layer(logits, rows), layer(logits, ROWS))
    with pytest.raises(ConfigError, match="Received: rows of more, without x"):
        layer(logits, {"more": tf.zeros([6])})


def test_an_ensembles_models_are_frozen() -> None:
    layer = Ensemble([_backbone(seed=1)])
    assert layer.trainable_weights == [] and len(layer.weights) == 4


@keras.utils.register_keras_serializable("tests")
class _Holder(keras.Model):
    """A model that holds an estimate, as the selective model does."""

    def __init__(self, uncertainty: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.uncertainty = uncertainty
        self.built = True

    def call(self, inputs: Any) -> Any:
        return self.uncertainty(tf.zeros([2, 3]), inputs, None)

    def get_config(self) -> dict[str, Any]:
        serialized = keras.utils.serialize_keras_object(self.uncertainty)
        return {"uncertainty": serialized}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        return cls(keras.utils.deserialize_keras_object(config["uncertainty"]))


def test_an_ensemble_is_saved_whole(tmp_path: Path) -> None:
    model = _Holder(Ensemble([_backbone(seed=1), _backbone(seed=2)]))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(ROWS), model(ROWS), rtol=1e-6)
    assert loaded.trainable_variables == []


# What they share


def _every() -> list[Any]:
    return [Entropy(), Confidence(), MCDropout(3), Ensemble([_backbone(seed=1)])]


@pytest.mark.parametrize("place", range(4), ids=UNCERTAINTIES)
@_EVERY
@given(seed=st.integers(0, 2**31), scale=st.sampled_from([0.0, 1.0, 100.0]))
def test_bounds_shape_and_no_gradient(place: int, seed: int, scale: float) -> None:
    uncertainty = _every()[place]
    backbone = _backbone(dropout=0.5, scale=scale, seed=seed % 1000)
    with tf.GradientTape() as tape:
        logits = _logits(backbone)
        q = uncertainty(logits, ROWS, backbone)
        total = tf.reduce_sum(q)
    assert q.shape == (2, 3) and q.dtype == tf.float32
    assert (q.numpy() >= 0).all() and (q.numpy() <= 1).all()
    gradients = tape.gradient(total, backbone.trainable_variables)
    assert gradients == [None] * 4


@pytest.mark.parametrize("place", range(4), ids=UNCERTAINTIES)
def test_in_a_graph_of_unknown_sizes_and_in_mixed_precision(place: int) -> None:
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        uncertainty, backbone = _every()[place], _backbone(dropout=0.5)
        spec = tf.TensorSpec([None, 3])
        ask = tf.function(
            lambda x: uncertainty(
                tf.reshape(backbone({"x": x}), [-1, 3]), {"x": x}, backbone
            )
        ).get_concrete_function(spec)
        q = ask(ROWS["x"])
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert q.shape == (2, 3) and q.dtype == tf.float32
    assert np.isfinite(q).all()


@pytest.mark.parametrize("place", range(4), ids=UNCERTAINTIES)
def test_config_round_trip(place: int) -> None:
    uncertainty = _every()[place]
    twin = keras.utils.deserialize_keras_object(
        keras.utils.serialize_keras_object(uncertainty)
    )
    assert type(twin) is type(uncertainty)
    assert twin.get_config() == uncertainty.get_config()


def test_names() -> None:
    assert isinstance(uncertainty_named("entropy"), Entropy)
    assert isinstance(uncertainty_named("confidence"), Confidence)
    mc_dropout: Any = uncertainty_named("mc_dropout", passes=8)
    assert isinstance(mc_dropout, MCDropout) and mc_dropout.passes == 8
    ensemble: Any = uncertainty_named("ensemble", models=[_backbone()])
    assert isinstance(ensemble, Ensemble)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("variance", {}, "confidence, mc_dropout, ensemble. Received.*'variance'"),
        ("entropy", {"passes": 3}, "'entropy' cannot be made.*passes"),
        ("ensemble", {}, "'ensemble' cannot be made.*models"),
        ("ensemble", {"models": []}, "at least one functional.*Received: none"),
        ("ensemble", {"models": [object()]}, "Received: object"),
        ("mc_dropout", {"passes": 1}, "`passes` must be at least 2.*passes=1"),
    ],
)
def test_errors(name: str, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        uncertainty_named(name, **options)
