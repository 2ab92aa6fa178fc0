from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.agreement import agreement_loss
from keras_sllmr.losses.pairs import score_gaps
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES
from keras_sllmr.training.dataset import BatchSettings, TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.uncertainty import entropy

MakeBackbone = Callable[..., Any]


def _loss() -> Any:
    return keras.losses.BinaryCrossentropy(from_logits=True)


def _auc() -> Any:
    return keras.metrics.AUC(from_logits=True, name="auc")


def _model(backbone: Any, optimizer: Any = None, **options: Any) -> SelectiveModel:
    compiled = {
        name: options.pop(name)
        for name in ("metrics", "run_eagerly", "steps_per_execution", "jit_compile")
        if name in options
    }
    model = SelectiveModel(backbone, **{"weight": 0.5, **options})
    model.compile(optimizer or LazyAdam(0.02), _loss(), **compiled)
    return model


@pytest.fixture(scope="module")
def batches(world: Any, scores_of: Callable[[str], ScoreTable]) -> Any:
    """Six guided batches, whatever is asked of them the same."""
    data = TrainingData(
        world.split,
        FeatureTables(world.split, world.spec, names=["item", "history"]),
        scores=scores_of("right"),
        settings=BatchSettings(rows=16, guidance_users=5, probe_users=4),
    )
    return data.dataset().take(6).cache()


@pytest.fixture(scope="module")
def plain(batches: Any) -> Any:
    """The labelled rows of the same batches."""
    return batches.map(lambda x, y: (x[LABELLED], y)).cache()


def _step(model: Any, batches: Any) -> dict[str, float]:
    """Trains on the first batch."""
    logs = model.fit(batches.take(1), verbose=0).history
    return {name: values[0] for name, values in logs.items()}


def _weights(model: Any) -> list[np.ndarray]:
    return [weight.copy() for weight in model.get_weights()]


def _assert_equal(one: list[Any], other: list[Any], **tolerance: float) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **{"rtol": 1e-5, "atol": 1e-7, **tolerance})


# What one step computes


def test_the_parts_of_the_loss(make_backbone: MakeBackbone, batches: Any) -> None:
    backbone = make_backbone()
    # Far from zero, so that uncertainty is not 1 everywhere.
    backbone.set_weights([20 * weight for weight in backbone.get_weights()])
    model = _model(backbone, regularizer=PairwiseHinge(0.8), run_eagerly=True)
    model.gate.set_weights([np.array([0.5, -0.3, 1.0], np.float32), np.float32(1.0)])
    x, y = next(iter(batches))

    def block(name: str) -> tuple[Any, Any, Any]:
        users, width = x[name]["score"].shape
        flat = {
            key: tf.reshape(x[name]["features"][key], [users * width, *shape])
            for key, shape in (("item", []), ("history", [4]))
        }
        logits = tf.reshape(backbone(flat), [users, width])
        signals = x[name]["signals"]
        z = tf.stack([signals["cold"], signals["tail"], entropy(logits)], -1)
        return logits, z, score_gaps(x[name]["score"], x[name]["valid"])

    logits, z, gaps = block(GUIDANCE)
    pair = PairwiseHinge(0.8)(logits, gaps, model.gate(z, gaps))
    _, z, probe_gaps = block(PROBES)
    gate = agreement_loss(
        model.gate.evidence(z, probe_gaps), probe_gaps, x[PROBES]["label"]
    )
    base = _loss()(y, backbone(x[LABELLED]))
    logs = _step(model, batches)
    assert logs["base_loss"] == pytest.approx(float(base), rel=1e-5)
    assert logs["pair_loss"] == pytest.approx(float(pair), rel=1e-5)
    assert logs["gate_loss"] == pytest.approx(float(gate), rel=1e-5)
    assert logs["pairs"] == int(tf.math.count_nonzero(gaps))
    assert logs["loss"] == pytest.approx(float(base + 0.5 * pair + gate), rel=1e-5)


def test_pair_weights(make_backbone: MakeBackbone, batches: Any) -> None:
    model = SelectiveModel(make_backbone(), gate=Gate(("cold",)))
    block = next(iter(batches))[0][GUIDANCE]
    alpha, gaps = model.pair_weights(block)
    np.testing.assert_array_equal(gaps, score_gaps(block["score"], block["valid"]))
    np.testing.assert_allclose(alpha, np.tanh(1.5 * gaps), rtol=1e-5)


@pytest.mark.parametrize("objective", ["agreement", "joint", "fixed"])
def test_what_trains_the_gate(
    make_backbone: MakeBackbone, batches: Any, objective: str
) -> None:
    gate = Gate(objective=objective)
    model = _model(make_backbone(), gate=gate, run_eagerly=True)
    before = _weights(gate)
    logs = _step(model, batches)
    assert (logs["gate_loss"] > 0) == (objective == "agreement")
    moved = any((a != b).any() for a, b in zip(before, _weights(gate), strict=True))
    assert moved == (objective != "fixed")


def test_the_hinge_leaves_a_frozen_gate_alone(
    make_backbone: MakeBackbone, batches: Any
) -> None:
    gate = Gate(trainable=False)
    model = _model(make_backbone(), gate=gate, run_eagerly=True)
    before = _weights(gate)
    _step(model, batches)
    _assert_equal(before, _weights(gate))


# Plain training


def test_plain_batches_train_as_the_bare_backbone_does(
    make_backbone: MakeBackbone, plain: Any
) -> None:
    backbone, twin = make_backbone(), make_backbone()
    twin.compile(LazyAdam(0.02), _loss())
    model = _model(backbone, weight=0.0)
    logs, expected = (m.fit(plain, epochs=2, verbose=0).history for m in (model, twin))
    np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-5)
    assert logs["pair_loss"] == logs["gate_loss"] == logs["pairs"] == [0, 0]
    _assert_equal(_weights(backbone), _weights(twin))


def test_no_weight_leaves_the_backbone_to_the_labelled_rows(
    make_backbone: MakeBackbone, plain: Any, batches: Any
) -> None:
    """With an optimizer without memory, which a row without gradient cannot move."""
    backbones = make_backbone(), make_backbone()
    for backbone, dataset in zip(backbones, (plain, batches), strict=True):
        model = _model(
            backbone, keras.optimizers.SGD(0.1), weight=0.0, run_eagerly=True
        )
        model.fit(dataset, verbose=0)
    _assert_equal(*map(_weights, backbones))


def test_features_of_any_name_and_shape() -> None:
    features = {
        "x": keras.Input((2,), name="x"),
        "item": keras.Input((1,), dtype="int32", name="item"),
    }
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(features["item"]))
    joined = keras.layers.Concatenate()([features["x"], embedded])
    model = _model(
        keras.Model(features, keras.layers.Dense(1)(joined)), run_eagerly=True
    )
    x = {"x": np.ones((4, 2)), "item": np.ones((4, 1), int)}
    model.fit(x, np.ones(4), verbose=0)
    assert model.predict(x, verbose=0).shape == (4, 1)
    del features["item"]
    alone = _model(
        keras.Model(features, keras.layers.Dense(1)(features["x"])), run_eagerly=True
    )
    alone.fit({"x": x["x"]}, np.ones(4), verbose=0)


# fit, evaluate, predict as Keras users expect them


def test_fit_lowers_the_loss_and_logs_its_parts(
    make_backbone: MakeBackbone, batches: Any, plain: Any
) -> None:
    model = _model(make_backbone(), metrics=[_auc()])
    history = model.fit(batches, epochs=8, validation_data=plain, verbose=0).history
    parts = {"loss", "base_loss", "pair_loss", "gate_loss", "pairs", "auc"}
    assert set(history) == {*parts, "val_loss", "val_auc"}
    assert history["base_loss"][-1] < history["base_loss"][0]
    whole = np.array(history["base_loss"]) + 0.5 * np.array(history["pair_loss"])
    np.testing.assert_allclose(history["loss"], whole + history["gate_loss"], rtol=1e-5)
    assert history["auc"][-1] > history["auc"][0]


def test_evaluate_is_the_backbones(make_backbone: MakeBackbone, plain: Any) -> None:
    backbone = make_backbone()
    backbone.compile("sgd", _loss(), metrics=[_auc()])
    model = _model(
        make_backbone(),
        metrics=[_auc()],
        run_eagerly=True,
    )
    # Batches of 10, 10, …, 6: a mean of rows, not of batches.
    rows = plain.unbatch().batch(10)
    assert model.metrics_names[0] == "loss"
    expected = backbone.evaluate(rows, verbose=0)
    np.testing.assert_allclose(model.evaluate(rows, verbose=0), expected, rtol=1e-5)
    logs = model.evaluate(rows, verbose=0, return_dict=True)
    assert list(logs) == ["loss", "auc"]
    # A second time: nothing is left over from the first.
    np.testing.assert_allclose(model.evaluate(rows, verbose=0), expected, rtol=1e-5)


def test_guided_batches_are_evaluated_on_their_labelled_rows(
    make_backbone: MakeBackbone, batches: Any, plain: Any
) -> None:
    model = _model(make_backbone(), run_eagerly=True)
    assert model.evaluate(batches, verbose=0) == pytest.approx(
        model.evaluate(plain, verbose=0), rel=1e-5
    )


def test_predict_sees_the_bare_backbone(
    make_backbone: MakeBackbone, batches: Any, plain: Any
) -> None:
    model = _model(make_backbone(), run_eagerly=True)
    features, guided = plain.map(lambda x, y: x), batches.map(lambda x, y: x)
    expected = np.concatenate([model.backbone(x) for x in features])
    np.testing.assert_allclose(model.predict(features, verbose=0), expected, rtol=1e-5)
    np.testing.assert_allclose(model.predict(guided, verbose=0), expected, rtol=1e-5)


def test_metrics_come_once(make_backbone: MakeBackbone, batches: Any) -> None:
    model = _model(make_backbone(), metrics=["mae"], run_eagerly=True)
    _step(model, batches)
    names = ["loss", "base_loss", "pair_loss", "gate_loss", "pairs", "mae"]
    assert model.metrics_names == names


def test_sample_weights_reach_the_base_loss(
    make_backbone: MakeBackbone, plain: Any
) -> None:
    model = _model(make_backbone(), weight=0.0, run_eagerly=True)
    x, y = next(iter(plain))
    logits = model.backbone(x)
    only = np.eye(16)[3] * 16
    expected = float(_loss()(y[3:4], logits[3:4]))
    logs = model.train_on_batch(x, y, sample_weight=only, return_dict=True)
    assert logs["base_loss"] == pytest.approx(expected, rel=1e-5)


def _sgd_history(backbone: Any, batches: Any, **options: Any) -> Any:
    # Adam blows rounding errors up where a gradient is almost zero.
    model = _model(backbone, keras.optimizers.SGD(0.3), **options)
    return model.fit(batches, epochs=2, steps_per_epoch=3, verbose=0).history


@pytest.fixture(scope="module")
def graph_history(make_backbone: MakeBackbone, batches: Any) -> dict[str, list[float]]:
    return _sgd_history(make_backbone(), batches)


@pytest.mark.parametrize(
    "options",
    [
        {"run_eagerly": True},
        {"steps_per_execution": 2},
        pytest.param({"jit_compile": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_ways_to_run_give_the_same_losses(
    make_backbone: MakeBackbone,
    batches: Any,
    graph_history: dict[str, list[float]],
    options: dict[str, Any],
) -> None:
    history = _sgd_history(make_backbone(), batches, **options)
    assert set(history) == set(graph_history)
    for name, values in history.items():
        np.testing.assert_allclose(values, graph_history[name], rtol=1e-5)


def test_mixed_precision(make_backbone: MakeBackbone, batches: Any) -> None:
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model = _model(make_backbone(), run_eagerly=True)
        logs = model.fit(batches, verbose=0).history
        model.pair_weights(next(iter(batches))[0][GUIDANCE])
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert np.isfinite([values[0] for values in logs.values()]).all()


# Saving


@pytest.fixture
def trained(make_backbone: MakeBackbone, batches: Any) -> SelectiveModel:
    """Has the state of an optimizer, and nothing at its default."""
    model = _model(
        make_backbone(),
        gate=Gate(("tail", "uncertainty"), initial_slope=2.0, name="gate"),
        regularizer=PairwiseHinge(0.7),
        run_eagerly=True,
    )
    _step(model, batches)
    return model


def _assert_train_on_alike(one: Any, other: Any, batches: Any) -> None:
    _assert_equal(_weights(one), _weights(other))
    _assert_equal(one.optimizer.variables, other.optimizer.variables)
    first, second = _step(one, batches), _step(other, batches)
    assert first == pytest.approx(second, rel=1e-5)
    _assert_equal(_weights(one), _weights(other))


def test_a_saved_model_is_whole_and_trains_on(
    tmp_path: Path, trained: SelectiveModel, batches: Any, plain: Any
) -> None:
    trained.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, SelectiveModel)
    assert loaded.gate.get_config() == trained.gate.get_config()
    assert (loaded.regularizer.margin, loaded.weight) == (0.7, 0.5)
    assert isinstance(loaded.optimizer, LazyAdam)
    x, _ = next(iter(plain))
    np.testing.assert_array_equal(trained(x), loaded(x))
    loaded.run_eagerly = True
    _assert_train_on_alike(trained, loaded, batches)


def test_saved_weights(
    tmp_path: Path, make_backbone: MakeBackbone, trained: SelectiveModel
) -> None:
    trained.save_weights(tmp_path / "model.weights.h5")
    gate = Gate(("tail", "uncertainty"))
    fresh = _model(make_backbone(seed=5), gate=gate)
    fresh.load_weights(tmp_path / "model.weights.h5")
    _assert_equal(_weights(trained), _weights(fresh))


def test_a_checkpoint_holds_gate_and_optimizer(
    tmp_path: Path,
    make_backbone: MakeBackbone,
    trained: SelectiveModel,
    batches: Any,
) -> None:
    path = tf.train.Checkpoint(model=trained, optimizer=trained.optimizer).save(
        str(tmp_path / "checkpoint")
    )
    gate = Gate(("tail", "uncertainty"))
    twin = _model(
        make_backbone(seed=5),
        gate=gate,
        regularizer=PairwiseHinge(0.7),
        run_eagerly=True,
    )
    twin.optimizer.build(twin.trainable_variables)
    tf.train.Checkpoint(model=twin, optimizer=twin.optimizer).restore(path)
    assert (gate.weight.numpy() != 0).any()
    _assert_train_on_alike(trained, twin, batches)


def test_saving_a_registered_backbone(tmp_path: Path, world: Any) -> None:
    vectors = world.text.vectors
    backbone = deepfm(
        world.spec, embedding_dim=4, dnn_hidden_units=(5,), text_vectors=vectors
    )
    SelectiveModel(backbone).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    targets = world.split.test
    x = world.tables.features(targets.users, targets.positions, targets.items)
    np.testing.assert_array_equal(backbone(x), loaded.backbone(x))


# Wrong input


def _sequential() -> Any:
    return keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])


def _wide() -> Any:
    features = {"x": keras.Input((2,), name="x")}
    return keras.Model(features, keras.layers.Dense(2)(features["x"]))


def _deep() -> Any:
    features = {"x": keras.Input((3, 2), name="x")}
    return keras.Model(features, keras.layers.Dense(1)(features["x"]))


def _two_outputs() -> Any:
    features = {"x": keras.Input((2,), name="x")}
    outputs = [keras.layers.Dense(1)(features["x"]) for _ in range(2)]
    return keras.Model(features, outputs)


def _unbuilt() -> Any:
    return keras.Sequential([keras.layers.Dense(1)])


@pytest.mark.parametrize(
    "make", [_sequential, _wide, _deep, _two_outputs, _unbuilt, object, lambda: None]
)
def test_wrong_backbones(make: Callable[[], Any]) -> None:
    with pytest.raises(ConfigError, match="dict of features to one logit.*Received: "):
        SelectiveModel(make())


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_wrong_weight(make_backbone: MakeBackbone, weight: float) -> None:
    with pytest.raises(ConfigError, match="`weight` must be at least 0. Received"):
        SelectiveModel(make_backbone(), weight=weight)


def test_a_signal_that_the_batch_does_not_have(
    make_backbone: MakeBackbone, batches: Any
) -> None:
    model = SelectiveModel(make_backbone(), gate=Gate(("cold", "price")))
    with pytest.raises(
        ConfigError,
        match="among cold, log_history, log_popularity, tail, uncerta.*: price",
    ):
        model.pair_weights(next(iter(batches))[0][GUIDANCE])
