from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.serving.export import export_model
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.raw import RawData

# Ids of every kind that a text file can spoil.
ITEMS = sorted(["a", "b\tc", " d ", "é", "f,g", '"h"', "\ufeffi", "j\u2028k", "l" * 300])
LENGTH = 3


class Exported(NamedTuple):
    path: Path
    backbone: Any
    spec: FeatureSpec
    store: FeatureStore


def raw_data(items: list[str] = ITEMS) -> RawData:
    rows = [
        (f"u{user}", items[(user * 3 + step) % len(items)], step)
        for user in range(1, 6)
        for step in range(4 + user % 3)
    ]
    catalogue = pd.DataFrame({"item": items, "text": ""})
    catalogue["attributes"] = [["x", "y"][: n % 3] for n in range(len(items))]
    interactions = pd.DataFrame(rows, columns=["user", "item", "order"])
    return RawData(interactions, catalogue, {"kind": "test"}, {}, {})


def small_deepfm(spec: FeatureSpec, seed: int = 0) -> Any:
    model = deepfm(
        spec,
        embedding_dim=4,
        dnn_hidden_units=(5,),
        embedding_stddev=1.0,
        seed=seed,
    )
    # Every weight takes part: also those that start at zero.
    rng = np.random.default_rng(seed)
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return FeatureStore.create(tmp_path_factory.mktemp("serving") / "store", raw_data())


@pytest.fixture(scope="session")
def spec(store: FeatureStore) -> FeatureSpec:
    return FeatureSpec.of(store, history_length=LENGTH)


@pytest.fixture(scope="session")
def exported(
    store: FeatureStore, spec: FeatureSpec, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    backbone = small_deepfm(spec)
    folder = tmp_path_factory.mktemp("saved_models")
    path = export_model(backbone, spec, store, folder, name="tiny")
    return Exported(path, backbone, spec, store)
