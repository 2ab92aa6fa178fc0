from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.gate import SIGNALS, Gate
from keras_sllmr.losses.agreement import agreement_loss
from keras_sllmr.losses.bpr import BPR
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.losses.info_nce import InfoNCE
from keras_sllmr.losses.pairs import score_gaps
from keras_sllmr.losses.pairwise_hinge import PairwiseHinge
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE, LABELLED, PROBES, block_rows
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.lazy_adam import LazyAdam
from keras_sllmr.training.selective_model import SelectiveModel
from keras_sllmr.training.uncertainty import Confidence, entropy

MakeBackbone = Callable[..., Any]

ITEM = ("item",)


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
    loss = options.pop("loss", None) or _loss()
    model = SelectiveModel(backbone, **{"weight": 0.5, "item_inputs": ITEM, **options})
    model.compile(optimizer or LazyAdam(0.02), loss, **compiled)
    return model


def _kept(dataset: Any) -> Any:
    """A dataset in memory, read whole at once: one that is begun may end up short."""
    kept = dataset.cache()
    for _ in kept:
        pass
    return kept


@pytest.fixture(scope="module")
def batches(world: Any, scores_of: Callable[[str], ScoreTable]) -> Any:
    """Six guided batches of eight positives, whatever is asked of them the same.

    Their labelled items have scores too, as far as the table has them.
    """
    data = TrainingData(
        world.split,
        FeatureTables(world.split, world.spec, names=["item", "history"]),
        scores=scores_of("right"),
        settings=BatchSettings(rows=16, guidance_users=5, probe_users=4),
        labelled_pairs=True,
    )
    return _kept(data.dataset().take(6))


def _rows(x: Any, y: Any) -> tuple[Any, Any]:
    return block_rows(x[LABELLED]), tf.reshape(y, [-1, 1])


@pytest.fixture(scope="module")
def plain(batches: Any) -> Any:
    """The labelled rows of the same batches, without blocks."""
    return _kept(batches.map(_rows))


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


class _Pass(NamedTuple):
    """What the model makes of a block, row by row."""

    logits: Any
    z: Any
    gaps: Any


def _pass(backbone: Any, block: dict[str, Any]) -> _Pass:
    users, width = block["score"].shape
    rows = {
        "item": tf.reshape(block["item"]["item"], [-1]),
        "history": tf.repeat(block["user"]["history"], width, axis=0),
    }
    logits = tf.reshape(backbone(rows), [users, width])
    signals = block["signals"]
    z = tf.stack([signals["cold"], signals["tail"], entropy(logits)], -1)
    return _Pass(logits, z, score_gaps(block["score"], block["valid"]))


def _pronounced(backbone: Any) -> Any:
    """Far from zero, so that uncertainty is not 1 everywhere."""
    backbone.set_weights([20 * weight for weight in backbone.get_weights()])
    return backbone


def _unscored(x: dict[str, Any], y: Any) -> tuple[dict[str, Any], Any]:
    """The batch without the scores of labelled items."""
    labelled = {side: x[LABELLED][side] for side in ("user", "item")}
    return {**x, LABELLED: labelled}, y


def _scored(x: dict[str, Any], y: Any) -> tuple[dict[str, Any], Any]:
    """The batch with a score for every labelled item."""
    scores = tf.cast(x[LABELLED]["item"]["item"] % 7, tf.float32) / 7
    valid = tf.ones_like(scores, tf.bool)
    return {**x, LABELLED: {**x[LABELLED], "score": scores, "valid": valid}}, y


@pytest.mark.parametrize("labelled_pairs", [False, True])
def test_the_parts_of_the_loss(
    make_backbone: MakeBackbone, batches: Any, labelled_pairs: bool
) -> None:
    """Pairs of labelled items join the mean where the items have scores."""
    backbone = _pronounced(make_backbone())
    hinge = PairwiseHinge(0.8)
    model = _model(backbone, regularizer=hinge, run_eagerly=True)
    model.gate.set_weights([np.array([0.5, -0.3, 1.0], np.float32), np.float32(1.0)])
    batches = batches.map(_scored)
    x, y = next(iter(batches))
    passes = {name: _pass(backbone, block) for name, block in x.items()}
    total, pairs = 0.0, 0
    for name in [LABELLED, GUIDANCE] if labelled_pairs else [GUIDANCE]:
        logits, z, gaps = passes[name]
        count = int(tf.math.count_nonzero(gaps))
        assert count
        total += count * float(hinge(logits, gaps, model.gate(z, gaps)))
        pairs += count
    _, z, gaps = passes[PROBES]
    gate = agreement_loss(model.gate.evidence(z, gaps), gaps, x[PROBES]["label"])
    base = _loss()(y, passes[LABELLED].logits)
    logs = _step(model, batches if labelled_pairs else batches.map(_unscored))
    assert logs["base_loss"] == pytest.approx(float(base), rel=1e-5)
    assert logs["pair_loss"] == pytest.approx(total / pairs, rel=1e-5)
    assert logs["gate_loss"] == pytest.approx(float(gate), rel=1e-5)
    assert logs["pairs"] == pairs
    whole = float(base + gate) + 0.5 * total / pairs
    assert logs["loss"] == pytest.approx(whole, rel=1e-5)


def _small_block(
    scores: list[float], valid: list[bool], label: list[int]
) -> dict[str, Any]:
    """Items 5, 6, … of one user."""
    row = {"score": [scores], "valid": [valid], "label": [label]}
    return {
        "user": {"history": tf.constant([[1, 2, 3, 4]])},
        "item": {"item": tf.constant([[*range(5, 5 + len(scores))]])},
        **{name: tf.constant(value) for name, value in row.items()},
        "signals": {name: tf.zeros([1, len(scores)]) for name in SIGNALS},
    }


@pytest.fixture
def small_batch() -> tuple[dict[str, Any], Any]:
    x = {
        # One pair; the second negative has no score.
        LABELLED: _small_block([0.75, 0.5, 0.0], [True, True, False], [1, 0, 0]),
        # Three pairs, and one of the four is a tie.
        GUIDANCE: _small_block([0.75, 0.5, 0.25, 0.25], [True] * 3 + [False], [-1] * 4),
        # Two pairs of the positive and its negatives.
        PROBES: _small_block([0.75, 0.5, 0.5], [True] * 3, [1, 0, 0]),
    }
    return x, tf.constant([[1.0, 0.0, 0.0]])


def test_what_the_labelled_pairs_add(
    make_backbone: MakeBackbone, small_batch: Any
) -> None:
    """By hand: the gate is 1, the margin is 1 and all logits are 0, so a pair costs 1."""
    backbone = make_backbone()
    backbone.set_weights([0 * weight for weight in backbone.get_weights()])
    for batch, pairs in ((_unscored(*small_batch), 3), (small_batch, 4)):
        model = _model(
            backbone,
            keras.optimizers.SGD(0.0),
            gate=Gate(objective="fixed"),
            regularizer=PairwiseHinge(1.0),
            run_eagerly=True,
        )
        logs = _step(model, tf.data.Dataset.from_tensors(batch))
        assert (logs["pairs"], logs["pair_loss"], logs["gate_loss"]) == (pairs, 1, 0)
        assert logs["base_loss"] == pytest.approx(np.log(2))


def test_a_gate_that_does_not_ask_the_model_needs_no_features(
    make_backbone: MakeBackbone, small_batch: Any
) -> None:
    """Its probes take no part in the backbone's pass."""
    x, y = small_batch
    asked = {side: x[PROBES].pop(side) for side in ("user", "item")}
    losses = []
    for signals, probes in ((("cold",), {}), (("cold", "uncertainty"), asked)):
        model = _model(make_backbone(), gate=Gate(signals), run_eagerly=True)
        batch = {**x, PROBES: {**x[PROBES], **probes}}, y
        losses.append(_step(model, tf.data.Dataset.from_tensors(batch)))
    # Before the first step no signal has a weight: two gaps of ¼ that are right.
    expected = np.log1p(np.exp(-3.0 / 4))
    assert [loss["gate_loss"] for loss in losses] == pytest.approx([expected] * 2)


# A reference beside the LLM


@pytest.fixture
def referred_batch(small_batch: Any) -> tuple[dict[str, Any], Any]:
    """Without pairs of labelled items; the reference says the opposite of the LLM."""
    x, y = _unscored(*small_batch)
    for name in (GUIDANCE, PROBES):
        x[name]["reference"] = -2 * x[name]["score"]
    return x, y


def test_evidence(make_backbone: MakeBackbone, referred_batch: Any) -> None:
    """By hand: κ is 0.5 and ρ is 1 before training, and all logits are 0."""
    backbone = make_backbone()
    backbone.set_weights([0 * weight for weight in backbone.get_weights()])
    gate = Gate(("cold", "tail"), initial_slope=0.5, prior=True)
    model = _model(
        backbone, LazyAdam(0.02), gate=gate, regularizer=Evidence(), run_eagerly=True
    )
    x, _ = referred_batch
    odds = {score: np.log(score / (1 - score)) for score in (0.75, 0.5, 0.25)}

    def chance(high: float, low: float) -> float:
        pooled = 0.5 * (odds[high] - odds[low]) - 2 * (high - low)
        return float(1 / (1 + np.exp(-pooled)))

    beliefs, gaps = model.pair_beliefs(x[GUIDANCE])
    for i, j, high, low in ((0, 1, 0.75, 0.5), (0, 2, 0.75, 0.25), (1, 2, 0.5, 0.25)):
        assert float(beliefs[0, i, j]) == pytest.approx(chance(high, low), rel=1e-5)
        assert float(gaps[0, i, j]) == pytest.approx(odds[high] - odds[low], rel=1e-5)
    assert int(tf.math.count_nonzero(gaps)) == 3
    logs = _step(model, tf.data.Dataset.from_tensors(referred_batch))
    # Against a margin of 0 any target costs log 2; both probes' pairs are right.
    assert logs["pair_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert logs["gate_loss"] == pytest.approx(-np.log(chance(0.75, 0.5)), rel=1e-5)


def test_evidence_moves_the_margins_to_the_gates_odds(
    make_backbone: MakeBackbone, referred_batch: Any
) -> None:
    gate = Gate(("cold",), objective="fixed", initial_slope=3.0, prior=True)
    model = _model(
        make_backbone(), LazyAdam(0.1), gate=gate, regularizer=Evidence(), weight=100.0
    )
    batches = tf.data.Dataset.from_tensors(referred_batch).repeat(50)
    model.fit(batches, epochs=4, verbose=0)
    block = referred_batch[0][GUIDANCE]
    logits = model.block_logits(block)[0].numpy()
    beliefs, gaps = model.pair_beliefs(block)
    chance = 1 / (1 + np.exp(logits[None] - logits[:, None]))
    ordered = gaps[0].numpy() > 0
    np.testing.assert_allclose(chance[ordered], beliefs[0][ordered], atol=0.03)


def test_a_prior_needs_a_reference(
    make_backbone: MakeBackbone, small_batch: Any
) -> None:
    model = SelectiveModel(
        make_backbone(), item_inputs=ITEM, gate=Gate(prior=True), regularizer=Evidence()
    )
    with pytest.raises(ConfigError, match="`reference`. Received: a block of user, it"):
        model.pair_weights(small_batch[0][GUIDANCE])


@pytest.mark.parametrize("objective", ["agreement", "joint", "fixed"])
def test_beliefs(make_backbone: MakeBackbone, batches: Any, objective: str) -> None:
    """A gate of agreement believes in (1 + α)/2, the others say no more than α."""
    model = SelectiveModel(
        _pronounced(make_backbone()), item_inputs=ITEM, gate=Gate(objective=objective)
    )
    block = next(iter(batches))[0][PROBES]
    (alpha, gaps), (chance, same) = model.pair_weights(block), model.pair_beliefs(block)
    np.testing.assert_array_equal(gaps, same)
    expected = 0.5 * (1 + alpha) if objective == "agreement" else alpha
    np.testing.assert_allclose(chance, expected, rtol=1e-5)


# Blocks and rows


def _plainly(x: dict[str, Any], y: Any) -> tuple[dict[str, Any], Any]:
    rows, labels = _rows(x, y)
    return {**x, LABELLED: rows}, labels


def test_labelled_rows_beside_guidance(
    make_backbone: MakeBackbone, batches: Any
) -> None:
    """A user's own rows of data need no groups; the losses are those of the groups."""
    losses, weights = [], []
    for dataset in (batches, batches.map(_plainly)):
        backbone = _pronounced(make_backbone())
        model = _model(backbone, keras.optimizers.SGD(0.1), run_eagerly=True)
        losses.append(_step(model, dataset))
        weights.append(_weights(backbone))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    _assert_equal(*weights, rtol=1e-4, atol=1e-6)
    x, y = next(iter(batches.map(_plainly)))
    assert model(x).shape == y.shape == (16, 1)
    np.testing.assert_allclose(model(x), backbone(x[LABELLED]), rtol=1e-5)


def test_all_features_are_an_items_by_default(
    make_backbone: MakeBackbone, batches: Any
) -> None:
    """Blocks without a user's side, for a backbone that nothing is known of."""

    def materialised(x: dict[str, Any], y: Any) -> tuple[dict[str, Any], Any]:
        blocks = {}
        for name, block in x.items():
            width = block["item"]["item"].shape[1]
            history = tf.repeat(block["user"]["history"][:, None], width, axis=1)
            item = {"item": block["item"]["item"], "history": history}
            blocks[name] = {**block, "user": {}, "item": item}
        return blocks, y

    losses = []
    for options, dataset in (
        ({}, batches),
        ({"item_inputs": None}, batches.map(materialised)),
    ):
        model = _model(make_backbone(), run_eagerly=True, **options)
        losses.append(_step(model, dataset))
    assert model.item_inputs == ("item", "history")
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_unknown_item_inputs(make_backbone: MakeBackbone) -> None:
    with pytest.raises(ConfigError, match="inputs, item, history. Received: price"):
        SelectiveModel(make_backbone(), item_inputs=["item", "price"])


def test_sides_that_are_not_as_said(make_backbone: MakeBackbone, batches: Any) -> None:
    model = _model(make_backbone(), item_inputs=None, run_eagerly=True)
    with pytest.raises(
        ConfigError, match="of items must include history, item.*: item"
    ):
        model.fit(batches, verbose=0)


def test_pair_weights(make_backbone: MakeBackbone, batches: Any) -> None:
    model = SelectiveModel(make_backbone(), item_inputs=ITEM, gate=Gate(("cold",)))
    block = next(iter(batches))[0][GUIDANCE]
    alpha, gaps = model.pair_weights(block)
    np.testing.assert_array_equal(gaps, score_gaps(block["score"], block["valid"]))
    np.testing.assert_allclose(alpha, np.tanh(1.5 * gaps), rtol=1e-5)


def test_pair_weights_of_a_model(make_backbone: MakeBackbone, batches: Any) -> None:
    """Uncertainty and the pairs' margins are of the backbone as it is."""
    gate = Gate(pair_signals=("margin", "popularity_gap"), name="gate")
    model = SelectiveModel(_pronounced(make_backbone()), item_inputs=ITEM, gate=gate)
    weights = [[0.5, -0.3, 1.0], 1.0, [-2.0, 0.7]]
    gate.set_weights([np.array(value, np.float32) for value in weights])
    block = next(iter(batches))[0][PROBES]
    logits, z, gaps = _pass(model.backbone, block)
    popularity = block["signals"]["log_popularity"]
    r = tf.stack(
        [
            tf.tanh((logits[:, :, None] - logits[:, None]) / 4),
            popularity[:, :, None] - popularity[:, None],
        ],
        -1,
    )
    alpha, _ = model.pair_weights(block)
    np.testing.assert_allclose(alpha, gate(z, gaps, r), rtol=1e-4, atol=1e-6)


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
    _assert_equal(*map(_weights, backbones), rtol=1e-4, atol=1e-6)


def test_features_of_any_name_and_shape() -> None:
    features = {
        "x": keras.Input((2,), name="x"),
        "item": keras.Input((1,), dtype="int32", name="item"),
    }
    embedded = keras.layers.Flatten()(keras.layers.Embedding(5, 2)(features["item"]))
    joined = keras.layers.Concatenate()([features["x"], embedded])
    options = {"item_inputs": None, "run_eagerly": True}
    model = _model(keras.Model(features, keras.layers.Dense(1)(joined)), **options)
    x = {"x": np.ones((4, 2)), "item": np.ones((4, 1), int)}
    model.fit(x, np.ones(4), verbose=0)
    assert model.predict(x, verbose=0).shape == (4, 1)
    del features["item"]
    alone = _model(
        keras.Model(features, keras.layers.Dense(1)(features["x"])), **options
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
    model = _model(_pronounced(make_backbone()), run_eagerly=True)
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
    blocks = model.predict(guided, verbose=0)
    assert blocks.shape == (6 * 8, 2)
    np.testing.assert_allclose(blocks.ravel(), expected[:, 0], rtol=1e-5)


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


def test_sample_weights_of_groups(make_backbone: MakeBackbone, batches: Any) -> None:
    model = _model(_pronounced(make_backbone()), weight=0.0, run_eagerly=True)
    x, y = next(iter(batches))
    logits = _pass(model.backbone, x[LABELLED]).logits
    only = np.eye(8)[3] * 8
    expected = float(_loss()(y[3:4], logits[3:4]))
    logs = _step(model, tf.data.Dataset.from_tensors((x, y, only)))
    assert logs["base_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("loss", [BPR, InfoNCE])
def test_ranking_losses_through_fit(
    world: Any,
    scores_of: Callable[[str], ScoreTable],
    make_backbone: MakeBackbone,
    loss: type,
) -> None:
    data = TrainingData(
        world.split,
        FeatureTables(world.split, world.spec, names=["item", "history"]),
        scores=scores_of("right"),
        settings=BatchSettings(rows=32, negatives=3, guidance_users=5, probe_users=4),
    )
    model = _model(_pronounced(make_backbone()), loss=loss(), metrics=[_auc()])
    x, y = next(iter(data.dataset()))
    logits = model(x).numpy()
    assert logits.shape == y.shape == (8, 4)
    leads = logits[:, 1:] - logits[:, :1]
    by_hand = {
        BPR: np.log1p(np.exp(leads)).mean(),
        InfoNCE: np.log1p(np.exp(leads).sum(1)).mean(),
    }
    evaluated = model.evaluate(tf.data.Dataset.from_tensors((x, y)), verbose=0)
    assert evaluated[0] == pytest.approx(by_hand[loss], rel=1e-4)
    history = model.fit(data.dataset(), steps_per_epoch=10, epochs=4, verbose=0).history
    assert history["base_loss"][-1] < history["base_loss"][0]
    assert history["auc"][-1] > history["auc"][0]


def test_ranking_losses_need_groups(make_backbone: MakeBackbone, plain: Any) -> None:
    model = _model(make_backbone(), loss=BPR(), run_eagerly=True)
    with pytest.raises(ConfigError, match=r"groups.*y_true \[16, 1\]"):
        model.fit(plain, verbose=0)


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


@pytest.fixture
def precision() -> Iterator[Callable[[str], None]]:
    before = keras.mixed_precision.global_policy()
    yield keras.mixed_precision.set_global_policy
    keras.mixed_precision.set_global_policy(before)


def test_mixed_precision(
    make_backbone: MakeBackbone, batches: Any, precision: Callable[[str], None]
) -> None:
    precision("mixed_bfloat16")
    model = _model(make_backbone(), run_eagerly=True)
    logs = model.fit(batches, verbose=0).history
    alpha, _ = model.pair_weights(next(iter(batches))[0][GUIDANCE])
    assert np.isfinite([values[0] for values in logs.values()]).all()
    assert alpha.dtype == tf.float32 and np.isfinite(alpha).all()


def test_half_precision_scales_the_loss(
    make_backbone: MakeBackbone, batches: Any, precision: Callable[[str], None]
) -> None:
    """So that gradients below float16's smallest number, 6e-8, still count."""
    precision("mixed_float16")

    def moved(factor: float) -> list[np.ndarray]:
        model = _model(
            make_backbone(),
            keras.optimizers.SGD(0.3 / factor),
            loss=lambda y, logits: factor * _loss()(y, logits),
            weight=0.0,
            run_eagerly=True,
        )
        assert isinstance(model.optimizer, keras.mixed_precision.LossScaleOptimizer)
        before = [w.numpy() for w in model.backbone.trainable_weights]
        model.fit(batches, steps_per_epoch=1, verbose=0)
        after = model.backbone.trainable_weights
        return [w.numpy() - old for w, old in zip(after, before, strict=True)]

    for whole, tiny in zip(moved(1.0), moved(1e-6), strict=True):
        assert np.abs(whole).max() > 1e-4
        np.testing.assert_allclose(tiny, whole, atol=0.1 * np.abs(whole).max())


# Saving


@pytest.fixture
def trained(make_backbone: MakeBackbone, batches: Any) -> SelectiveModel:
    """Has the state of an optimizer, and nothing at its default."""
    model = _model(
        make_backbone(),
        gate=Gate(("tail", "uncertainty"), initial_slope=2.0, name="gate"),
        uncertainty=Confidence(),
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
    assert isinstance(loaded.uncertainty, Confidence)
    assert tuple(loaded.item_inputs) == ITEM
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
        uncertainty=Confidence(),
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
    gate = Gate(("cold", "price"))
    model = SelectiveModel(make_backbone(), item_inputs=ITEM, gate=gate)
    with pytest.raises(
        ConfigError,
        match="among cold, log_history, log_popularity, tail, uncerta.*: price",
    ):
        model.pair_weights(next(iter(batches))[0][GUIDANCE])
