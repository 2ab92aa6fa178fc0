"""The reference and the gate that is fitted to it, before guided training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.gate import Gate
from keras_sllmr.losses.evidence import Evidence
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE, PROBES
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.callbacks.sampled_auc import SampledAUC
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.reference import fit_gate, fit_reference
from keras_sllmr.training.row_batches import row_batches
from keras_sllmr.training.selective_model import SelectiveModel

Scores = Callable[[str], ScoreTable]


def _data(world: Any, scores: ScoreTable, **options: Any) -> TrainingData:
    tables = FeatureTables(world.split, world.spec, names=["item", "history"])
    settings = BatchSettings(rows=64, guidance_users=4)
    return TrainingData(
        world.split, tables, scores=scores, settings=settings, **options
    )


def _model(backbone: Any, objective: str = "agreement") -> SelectiveModel:
    gate = Gate(("cold", "tail"), objective=objective, prior=True, initial_slope=0.4)
    model = SelectiveModel(
        backbone, item_inputs=["item"], gate=gate, regularizer=Evidence()
    )
    model.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    return model


def test_every_block_gets_the_references_logits(
    world: Any, scores_of: Scores, make_backbone: Any
) -> None:
    data, model = _data(world, scores_of("right")), _model(make_backbone())
    data.refer_to(model.block_logits)
    for block in (*(block for block, _ in data.blocks.values()), data.held_out):
        assert block is not None and block.reference is not None
        batch = data.block_features(block, tf.range(len(block)))
        np.testing.assert_allclose(
            batch["reference"], model.block_logits(batch), rtol=1e-4, atol=1e-6
        )


def test_gate_probes_leave_the_labelled_rows(world: Any, scores_of: Scores) -> None:
    data = _data(world, scores_of("right"))
    assert data.held_out is not None
    probes = [data.blocks[PROBES][0], data.held_out]
    hidden = {
        pair
        for block in probes
        for pair in zip(block.users.tolist(), block.positions.tolist(), strict=True)
    }
    trained = set(
        zip(data.train.users.tolist(), data.train.positions.tolist(), strict=True)
    )
    assert hidden and not hidden & trained
    assert len(data.train) == len(world.split.train) - len(hidden)


def test_the_gate_finds_what_the_teacher_is_worth(
    world: Any, scores_of: Scores, make_backbone: Any
) -> None:
    slopes = {}
    for teacher in ("right", "guessing"):
        data, model = _data(world, scores_of(teacher)), _model(make_backbone())
        data.refer_to(model.block_logits)
        fit_gate(model, data)
        assert not model.gate.trainable
        slopes[teacher] = np.log1p(np.exp(float(model.gate.bias)))
    # Few probes: a guess may look right on some.
    assert slopes["right"] > 2 * slopes["guessing"]


def test_shuffled_scores_close_the_gate(
    world: Any, scores_of: Scores, make_backbone: Any
) -> None:
    data = _data(world, scores_of("right"), shuffled_from=0)
    model = _model(make_backbone())
    data.refer_to(model.block_logits)
    fit_gate(model, data)
    block, _ = data.blocks[GUIDANCE]
    alpha, gaps = model.pair_weights(data.block_features(block, tf.range(len(block))))
    shuffled = float(tf.reduce_mean(alpha[gaps > 0]))
    right = _data(world, scores_of("right"))
    right.refer_to(model.block_logits)
    trusted = _model(make_backbone())
    fit_gate(trusted, right)
    block, _ = right.blocks[GUIDANCE]
    alpha, gaps = trusted.pair_weights(
        right.block_features(block, tf.range(len(block)))
    )
    assert shuffled < 0.5 * float(tf.reduce_mean(alpha[gaps > 0]))


def test_the_reference_is_the_best_by_likelihood_and_resumes(
    tmp_path: Path, world: Any, scores_of: Scores, make_backbone: Any
) -> None:
    data = _data(world, scores_of("right"))
    targets = world.split.validation
    watch = [
        SampledAUC(
            row_batches(data.tables, targets, targets.items),
            row_batches(data.tables, targets, np.roll(targets.items, 1)),
        )
    ]
    options = {"key": "a", "monitors": watch, "epochs": 3}
    model, average = _model(make_backbone()), _model(make_backbone(seed=6))
    logs = fit_reference(model, average, data, tmp_path / "work", **options)
    likelihood = [epoch["val_log_likelihood"] for epoch in logs]
    # What was watched is the mean, and what is left of it the best epoch's.
    watch[0].set_model(average)
    found: dict[str, Any] = {}
    watch[0].on_epoch_end(0, found)
    assert found["val_log_likelihood"] == pytest.approx(max(likelihood), rel=1e-5)

    options["monitors"] = []  # Nothing is left to train.
    models = [_model(make_backbone(seed=7)) for _ in range(2)]
    options["epochs"] = len(logs)
    resumed = fit_reference(*models, data, tmp_path / "work", **options)
    assert [epoch["val_log_likelihood"] for epoch in resumed] == likelihood
    for one, other in zip(
        average.backbone.get_weights(), models[1].backbone.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)
