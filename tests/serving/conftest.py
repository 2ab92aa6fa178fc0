import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras, tf
from keras_sllmr.serving import fresh_process
from keras_sllmr.serving.export import export_model
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.raw import RawData

# Ids of every kind that a text file could spoil; "\ufeff" would pass for its BOM.
_ITEMS = [" d ", '"h"', "a", "b\tc", "e,f", "g" * 300, "é", "ì\u2028j", "\ufeffk"]


class Exported(NamedTuple):
    path: Path
    backbone: Any
    spec: FeatureSpec
    store: FeatureStore


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers here: starting TensorFlow anew takes seconds."""

    def run(command: list[str], **kwargs: Any) -> Any:
        assert command[:3] == [sys.executable, "-m", fresh_process.__name__]
        fresh_process.answer(*command[3:])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)


@pytest.fixture(scope="session")
def items() -> list[str]:
    """Item ids; the one at place n has the index n + 1."""
    return _ITEMS


def _raw(items: list[str]) -> RawData:
    rows = [
        (f"u{user}", items[(user * 3 + step) % len(items)], step)
        for user in range(1, 6)
        for step in range(4 + user % 3)
    ]
    catalogue = pd.DataFrame({"item": items, "text": ""})
    catalogue["attributes"] = [["x", "y"][: n % 3] for n in range(len(items))]
    interactions = pd.DataFrame(rows, columns=["user", "item", "order"])
    return RawData(interactions, catalogue, {"kind": "test"}, {}, {})


@pytest.fixture(scope="session")
def make_store(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[list[str]], FeatureStore]:
    def make(items: list[str]) -> FeatureStore:
        return FeatureStore.create(
            tmp_path_factory.mktemp("stores") / "store", _raw(items)
        )

    return make


@pytest.fixture(scope="session")
def make_backbone() -> Callable[..., Any]:
    def make(spec: FeatureSpec, seed: int = 0) -> Any:
        model = deepfm(spec, embedding_dim=4, dnn_hidden_units=(5,), seed=seed)
        # Large weights everywhere: also those that start at zero take part.
        rng = np.random.default_rng(seed)
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        return model

    return make


@pytest.fixture(scope="session")
def make_digits() -> Callable[..., Any]:
    """Backbones whose logit shows their inputs, as the digits of a number."""

    def make(base: int = 10, **shapes: tuple[int, ...]) -> Any:
        inputs = {
            name: keras.Input(shape, name=name, dtype="int32")
            for name, shape in shapes.items()
        }
        flat = [
            keras.layers.Lambda(lambda x: tf.cast(x, "float32"))(
                tensor if tensor.shape.rank == 2 else keras.layers.Reshape((1,))(tensor)
            )
            for tensor in inputs.values()
        ]
        joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
        powers = float(base) ** np.arange(joined.shape[-1])[::-1]
        weight = keras.initializers.Constant(powers[:, None])
        dense = keras.layers.Dense(1, use_bias=False, kernel_initializer=weight)
        return keras.Model(inputs, dense(joined))

    return make


@pytest.fixture(scope="session")
def store(
    make_store: Callable[[list[str]], FeatureStore], items: list[str]
) -> FeatureStore:
    return make_store(items)


@pytest.fixture(scope="session")
def spec(store: FeatureStore) -> FeatureSpec:
    return FeatureSpec.of(store, history_length=3)


@pytest.fixture(scope="session")
def exported(
    store: FeatureStore,
    spec: FeatureSpec,
    make_backbone: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    backbone = make_backbone(spec)
    folder = tmp_path_factory.mktemp("saved_models")
    path = export_model(backbone, spec, store, folder, name="tiny")
    return Exported(path, backbone, spec, store)
