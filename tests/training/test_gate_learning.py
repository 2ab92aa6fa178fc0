"""What the gate's objectives come to in training, as its docstring says."""

from collections.abc import Callable
from typing import Any

import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.layers.gate import Gate
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.training.batch import GUIDANCE
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.selective_model import SelectiveModel


@pytest.fixture
def mean_alpha(
    world: Any,
    scores_of: Callable[[str], ScoreTable],
    make_backbone: Callable[..., Any],
) -> Callable[[str, str], tuple[float, float]]:
    """Trains on a teacher with an objective; mean α of its pairs before and after."""

    def run(teacher: str, objective: str) -> tuple[float, float]:
        tables = FeatureTables(world.split, world.spec, names=["item", "history"])
        data = TrainingData(
            world.split,
            tables,
            scores=scores_of(teacher),
            settings=BatchSettings(rows=32, guidance_users=8, probe_users=16),
        )
        model = SelectiveModel(
            make_backbone(), item_inputs=("item",), gate=Gate(objective=objective)
        )
        model.compile(
            keras.optimizers.Adam(0.05),
            keras.losses.BinaryCrossentropy(from_logits=True),
            steps_per_execution=20,
        )
        blocks, _ = data.blocks[GUIDANCE]
        block = data.block_features(blocks, tf.range(len(blocks)))

        def mean() -> float:
            alpha, gaps = model.pair_weights(block)
            return float(tf.reduce_mean(alpha[gaps > 0]))

        before = mean()
        model.fit(data.dataset(), steps_per_epoch=120, verbose=0)
        return before, mean()

    return run


def test_a_joint_gate_collapses(mean_alpha: Any) -> None:
    before, after = mean_alpha("right", "joint")
    assert before == pytest.approx(0.5)
    assert after < 0.3 * before


def test_an_agreement_gate_trusts_a_right_teacher(mean_alpha: Any) -> None:
    before, after = mean_alpha("right", "agreement")
    assert after > before


def test_an_agreement_gate_does_not_trust_a_guessing_teacher(mean_alpha: Any) -> None:
    before, after = mean_alpha("guessing", "agreement")
    assert after < 0.3 * before
