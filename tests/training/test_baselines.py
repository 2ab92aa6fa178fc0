"""KD, KAR and LLM-CF, trained from end to end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.examples import retrieval_of
from keras_sllmr.scoring.platt import apply_platt, platt
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.offline_inputs import OfflineInputs
from keras_sllmr.training.row_batches import row_batches
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import train
from keras_sllmr.training.trained_model import TrainedModel

# Graphs of tf.data stay graphs, and are meant to.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")

SMALL = {"embedding_dim": 4, "dnn_hidden_units": [6], "dnn_dropout": 0.0}


def _settings(**changes: Any) -> TrainSettings:
    return TrainSettings.model_validate(
        {
            "backbone": {"history_length": 4, "hyperparameters": SMALL},
            "kar": {"units": (5, 3), "dropout": 0.0},
            "llm_cf": {"width": 8, "blocks": 1, "hidden": 8},
            "batch": {"rows": 32},
            "learning_rate": 0.01,
            "epochs": 1,
            **changes,
        }
    )


def _train(
    method: Any, world: Any, offline: OfflineInputs, path: Path, **changes: Any
) -> TrainedModel:
    return train(
        method, world.split, path, settings=_settings(**changes), **offline.tables
    )


def _logits(trained: TrainedModel, world: Any) -> np.ndarray:
    tables = FeatureTables(
        world.split,
        trained.spec,
        list(trained.backbone.input),
        retrieval=trained.retrieval,
    )
    targets = world.split.test
    batches = row_batches(tables, targets, targets.items)
    return np.ravel(trained.backbone.predict(batches, verbose=0))


class _Watch(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.losses: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.losses.append(logs["loss"] - logs["base_loss"])


@pytest.fixture(scope="module")
def trained_by(
    world: Any, offline: OfflineInputs, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], TrainedModel]:
    """A model of each method, trained when it is first asked for."""
    folder = tmp_path_factory.mktemp("trained")

    def trained(method: str) -> TrainedModel:
        if not (folder / method).exists():
            _train(method, world, offline, folder / method)
        return TrainedModel(folder / method)

    return trained


@pytest.mark.parametrize(
    ("method", "more"), [("kd", set()), ("kar", {"user"}), ("llm_cf", {"examples"})]
)
def test_a_run_and_its_folder(
    method: Any, more: set[str], world: Any, offline: OfflineInputs, trained_by: Any
) -> None:
    trained = trained_by(method)
    used = offline.used(method, _settings())
    parents = {name: mark for name, mark in used.fingerprints.items() if mark}
    store = world.split.store.fingerprint
    assert trained.manifest["parent"] == {"store": store, **parents}
    assert trained.manifest["settings"]["method"] == method
    described = {"kd": [], "kar": ["knowledge"], "llm_cf": ["examples"]}[method]
    assert trained.manifest["settings"]["described"] == described
    plain = {"history", "item", "history_attributes", "item_attributes"}
    assert set(trained.backbone.input) == plain | more
    assert (trained.retrieval is None) == (method != "llm_cf")
    logits = _logits(trained, world)
    assert np.isfinite(logits).all() and logits.std() > 0


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(
    world: Any, offline: OfflineInputs, trained_by: Any, tmp_path: Path
) -> None:
    again = _train("llm_cf", world, offline, tmp_path / "again")
    expected = _logits(trained_by("llm_cf"), world)
    np.testing.assert_allclose(_logits(again, world), expected, rtol=1e-4, atol=1e-5)


def test_distillation_is_of_the_calibrated_scores(
    world: Any, offline: OfflineInputs, tmp_path: Path
) -> None:
    """The first step's loss beside the base loss, by hand: logits start at zero."""
    assert offline.row_scores is not None
    scores = offline.row_scores.scores
    labels = np.tile([1, 0], (len(scores), 1))
    chances = apply_platt(scores, *platt(scores[:, :2], labels))
    # The kind of an item says much of a row and the calibration says how much.
    assert np.nanmean(chances[:, 0]) > np.nanmean(chances[:, 1]) + 0.1

    def first_step(**kd: Any) -> float:
        watch = _Watch()
        train(
            "kd",
            world.split,
            tmp_path / "model",
            settings=_settings(
                kd=kd,
                backbone={
                    "history_length": 4,
                    "text": False,
                    "hyperparameters": {**SMALL, "embedding_stddev": 0.0},
                },
            ),
            row_scores=offline.row_scores,
            callbacks=lambda done, steps: [watch],
        )
        return watch.losses[0]

    # At p = ½ every target costs log 2.
    assert first_step(weight=0.5) == pytest.approx(0.5 * np.log(2), abs=0.02)
    assert first_step(weight=0.0) == pytest.approx(0, abs=1e-6)


def test_the_context_is_retrieved_as_offline(
    world: Any, offline: OfflineInputs, trained_by: Any
) -> None:
    trained = trained_by("llm_cf")
    assert offline.examples is not None and offline.text is not None
    given = retrieval_of(offline.examples, world.split, offline.text)
    rows = offline.examples.rows(world.split)
    tables = FeatureTables(world.split, trained.spec, retrieval=trained.retrieval)
    who = (tf.constant(rows.users), tf.constant(rows.positions))
    for column in range(rows.items.shape[1]):
        items = tf.constant(rows.items[:, column])
        found = tables.features(*who, items)
        expected = offline.examples.neighbours[:, column]
        np.testing.assert_array_equal(found["examples"], expected)
        np.testing.assert_array_equal(
            given(found["history"], items, *who), found["examples"]
        )


def test_histories_of_another_length(
    world: Any, offline: OfflineInputs, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="history_length=3. Received: .* by 4 events"):
        _train(
            "llm_cf",
            world,
            offline,
            tmp_path / "model",
            backbone={"history_length": 3, "hyperparameters": SMALL},
        )
