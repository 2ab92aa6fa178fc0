"""Every backbone inside the selective model, in every way to run and to save it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import ITEM_INPUTS, FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.gate import Gate
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES, block_rows
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.signals import ITEM_SIGNALS

SMALL: dict[str, dict[str, Any]] = {
    "deepfm": {},
    "xdeepfm": {"cin_layer_size": (4, 3)},
    "autoint": {"att_layer_num": 2, "att_embedding_size": 3},
    "dcn": {},
    "dcnv2": {},
    "dcnv2 of experts": {"low_rank": 2, "experts": 3},
    "din": {"att_hidden_size": (5, 3)},
}

LOSSES = ("loss", "base_loss", "pair_loss", "gate_loss")

Make = Callable[..., SelectiveModel]


def test_all_are_covered() -> None:
    assert {case.split()[0] for case in SMALL} == set(BACKBONES)


def _block(spec: FeatureSpec, users: int, items: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    length, width = spec.history_length, spec.attribute_width
    n_items, n_attributes = spec.n_items + 1, spec.n_attributes + 1
    shape = (users, items)

    def ids(high: int, *shape: int) -> Any:
        return tf.constant(rng.integers(0, high, shape), tf.int32)

    return {
        "user": {
            "history": ids(n_items, users, length),
            "history_attributes": ids(n_attributes, users, length * width),
        },
        "item": {
            "item": ids(n_items, *shape),
            "item_attributes": ids(n_attributes, *shape, width),
        },
        "score": tf.constant(rng.uniform(size=shape), tf.float32),
        "valid": tf.constant(rng.uniform(size=shape) < 0.9),
        "label": tf.constant([[1] + [0] * (items - 1)] * users),
        "signals": {
            name: tf.constant(rng.uniform(size=shape), tf.float32)
            for name in ITEM_SIGNALS
        },
    }


@pytest.fixture
def batch(spec: FeatureSpec) -> tuple[dict[str, Any], Any]:
    """Four positives of two negatives each, with candidates and probes."""
    labelled = _block(spec, 4, 3, seed=0)
    x = {
        LABELLED: {side: labelled[side] for side in ("user", "item")},
        GUIDANCE: _block(spec, 2, 4, seed=1),
        PROBES: _block(spec, 3, 3, seed=2),
    }
    return x, tf.constant([[1.0, 0.0, 0.0]] * 4)


@pytest.fixture(params=SMALL)
def make(
    request: pytest.FixtureRequest, spec: FeatureSpec, text_vectors: np.ndarray
) -> Make:
    """Makes a compiled selective model around a small backbone."""

    def model(*, seed: int = 0, **compiled: Any) -> SelectiveModel:
        backbone = build_backbone(
            request.param.split()[0],
            spec,
            text_vectors=text_vectors,
            embedding_dim=4,
            embedding_stddev=0.5,
            dnn_hidden_units=(6, 5),
            dnn_dropout=0.0,
            seed=seed,
            **SMALL[request.param],
        )
        model = SelectiveModel(
            backbone,
            item_inputs=ITEM_INPUTS,
            gate=Gate(pair_signals=("margin",), name="gate"),
            weight=0.5,
        )
        # A large ε: with Adam's own, a gradient of rounding errors is a whole step.
        model.compile(
            LazyAdam(0.02, epsilon=1e-2),
            keras.losses.BinaryCrossentropy(from_logits=True),
            **compiled,
        )
        return model

    return model


def _history(model: SelectiveModel, batch: Any, steps: int = 4) -> dict[str, Any]:
    dataset = tf.data.Dataset.from_tensors(batch).repeat(steps // 2)
    history = model.fit(dataset, epochs=2, verbose=0).history
    return {name: history[name] for name in LOSSES}


# Ways to run


def _assert_trains_as_eagerly(make: Make, batch: Any, **compiled: Any) -> None:
    expected = _history(make(run_eagerly=True), batch)
    assert all(expected["base_loss"][1] < value for value in expected["base_loss"][:1])
    assert all(value > 0 for values in expected.values() for value in values)
    found = _history(make(**compiled), batch)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, err_msg=name)


def test_in_a_graph(make: Make, batch: Any) -> None:
    _assert_trains_as_eagerly(make, batch)


def test_several_steps_an_execution(make: Make, batch: Any) -> None:
    _assert_trains_as_eagerly(make, batch, steps_per_execution=2)


def test_compiled_by_xla(make: Make, batch: Any) -> None:
    _assert_trains_as_eagerly(make, batch, jit_compile=True)


@pytest.fixture
def policy() -> Iterator[Callable[[str], None]]:
    """Sets the precision of what is made from then on."""
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def test_mixed_precision(make: Make, batch: Any, policy: Callable[[str], None]) -> None:
    expected = _history(make(run_eagerly=True), batch)
    policy("mixed_bfloat16")
    model = make(run_eagerly=True)
    assert model.backbone.get_layer("dnn").compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.weights} == {tf.float32}
    found = _history(model, batch)
    for name, values in expected.items():
        assert np.isfinite(found[name]).all()
        np.testing.assert_allclose(found[name], values, rtol=0.05, err_msg=name)


# Ways to save


@pytest.fixture
def trained(make: Make, batch: Any) -> SelectiveModel:
    """After a step, so that the optimizer and all weights have a state of their own."""
    model = make(run_eagerly=True)
    _history(model, batch, steps=2)
    return model


def _assert_same(one: SelectiveModel, other: SelectiveModel, batch: Any) -> None:
    x, _ = batch
    logits = one(x)
    assert np.ptp(logits) > 0
    np.testing.assert_array_equal(logits, other(x))
    for name in (GUIDANCE, PROBES):
        for ours, theirs in zip(
            one.pair_weights(x[name]), other.pair_weights(x[name]), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs)


def _assert_train_on_alike(
    one: SelectiveModel, other: SelectiveModel, batch: Any
) -> None:
    assert int(one.optimizer.iterations) == int(other.optimizer.iterations) == 2
    first, second = (_history(model, batch, steps=2) for model in (one, other))
    assert first == second
    _assert_same(one, other, batch)


def test_keras_file(tmp_path: Path, trained: SelectiveModel, batch: Any) -> None:
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    loaded.run_eagerly = True
    _assert_same(trained, loaded, batch)
    _assert_train_on_alike(trained, loaded, batch)


def test_weights_file(
    tmp_path: Path, make: Make, trained: SelectiveModel, batch: Any
) -> None:
    trained.save_weights(tmp_path / "model.weights.h5")
    other = make(seed=5)
    other.load_weights(tmp_path / "model.weights.h5")
    _assert_same(trained, other, batch)


def test_checkpoint(
    tmp_path: Path, make: Make, trained: SelectiveModel, batch: Any
) -> None:
    path = tf.train.Checkpoint(model=trained, optimizer=trained.optimizer).save(
        str(tmp_path / "checkpoint")
    )
    other = make(seed=5, run_eagerly=True)
    other.optimizer.build(other.trainable_variables)
    restored = tf.train.Checkpoint(model=other, optimizer=other.optimizer).restore(path)
    restored.assert_existing_objects_matched()
    _assert_same(trained, other, batch)
    _assert_train_on_alike(trained, other, batch)


def test_saved_model_of_the_backbone(
    tmp_path: Path, trained: SelectiveModel, batch: Any
) -> None:
    backbone, (x, _) = trained.backbone, batch
    tf.saved_model.save(backbone, str(tmp_path / "saved"))
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    rows = block_rows(x[GUIDANCE])
    expected = backbone(rows, training=False)
    np.testing.assert_allclose(loaded(rows, training=False), expected, rtol=1e-6)
    (served,) = loaded.signatures["serving_default"](**rows).values()
    np.testing.assert_allclose(served, expected, rtol=1e-6)
