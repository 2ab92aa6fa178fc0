import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import StoreError
from keras_sllmr.store.manifest import write_manifest
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import build_model
from keras_sllmr.training.trained_model import MODEL_VERSION, TrainedModel


def _describe(folder: Path, world: Any, **changes: Any) -> None:
    manifest: dict[str, Any] = {
        "kind": "model",
        "schema_version": MODEL_VERSION,
        "parent": {},
        "settings": {"features": world.spec.to_dict()},
        "counts": {},
        "history": {"best_epoch": 3},
        **changes,
    }
    write_manifest(folder, **manifest)


@pytest.fixture(scope="module")
def model(world: Any) -> Any:
    settings = TrainSettings.model_validate(
        {"backbone": {"hyperparameters": {"embedding_dim": 4, "dnn_hidden_units": [3]}}}
    )
    return build_model("sllmr", world.spec, settings, world.text.vectors)


@pytest.fixture(scope="module")
def saved(world: Any, model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "model"
    folder.mkdir()
    model.save(folder / "model.keras")
    _describe(folder, world)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_opens_what_was_trained(world: Any, model: Any, saved: Path) -> None:
    trained = TrainedModel(saved)
    assert trained.spec == world.spec
    assert trained.history == {"best_epoch": 3}
    targets = world.split.test
    x = world.tables.features(targets.users, targets.positions, targets.items)
    np.testing.assert_array_equal(trained.backbone(x), model.backbone(x))


def test_a_change_of_the_history_does_not_reach_the_manifest(saved: Path) -> None:
    trained = TrainedModel(saved)
    trained.history["best_epoch"] = 9
    assert trained.history["best_epoch"] == 3


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [_truncate, _flip, _empty])
def test_a_damaged_model(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy / "model.keras")
    with pytest.raises(StoreError, match="model.keras is not what was written"):
        TrainedModel(copy)


def test_a_missing_model(copy: Path) -> None:
    (copy / "model.keras").unlink()
    with pytest.raises(StoreError, match="model.keras is missing"):
        TrainedModel(copy)


def test_a_model_that_keras_cannot_read(copy: Path, world: Any) -> None:
    (copy / "model.keras").write_bytes(b"whole, and no model")
    _describe(copy, world)
    with pytest.raises(StoreError, match="model.keras cannot be loaded: .* Train it"):
        TrainedModel(copy)


def test_other_folders(tmp_path: Path, copy: Path, world: Any) -> None:
    with pytest.raises(StoreError, match="is not a model: it has no manifest.json"):
        TrainedModel(tmp_path)
    _describe(copy, world, kind="store")
    with pytest.raises(StoreError, match="should be a model. Received: a store"):
        TrainedModel(copy)
    _describe(copy, world, schema_version=MODEL_VERSION + 1)
    with pytest.raises(StoreError, match="schema version 2"):
        TrainedModel(copy)
