"""The throughput benchmark compares like with like."""

import sys
from collections.abc import Callable
from typing import Any

import deepctr_models
import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables

NAMES = sorted(deepctr_models.MODELS)


def test_the_import_asks_no_package_index() -> None:
    # The module whose thread asks; `compat` stands in for it.
    assert "deepctr.utils" not in sys.modules


@pytest.mark.parametrize("name", ["deepfm", "din"])
def test_the_features_are_ours(
    name: str, split: LeaveOneOut, random_rows: Callable[..., Any]
) -> None:
    spec = FeatureSpec.of(split.store, history_length=6)
    users, positions = (column[:40] for column in random_rows(split))
    items = np.arange(1, 41)
    arrays = deepctr_models.materialised(name, split, spec, users, positions, items)
    ours = FeatureTables(split, spec).features(users, positions, items)
    history = "hist_item" if name == "din" else "history"
    assert set(arrays) == {history, *ours} - ({"history"} - {history})
    for key, value in arrays.items():
        assert value.dtype == np.int32
        np.testing.assert_array_equal(value, ours["history" if key == history else key])
    assert arrays["history_attributes"].any()


@pytest.mark.parametrize("name", NAMES)
def test_the_models_are_as_large(name: str) -> None:
    spec = FeatureSpec(n_users=9, n_items=2000, n_attributes=300)
    hyperparameters = {**deepctr_models.COMMON, **deepctr_models.HYPERPARAMETERS[name]}
    ours = build_backbone(name, spec, embedding_dim=8, **hyperparameters)
    theirs = deepctr_models.deepctr_model(name, spec, embedding_dim=8)
    inside = {tensor.name for tensor in theirs.inputs}
    assert len(inside) == len(spec.inputs())
    # Padding rows may be laid out differently.
    assert ours.count_params() == pytest.approx(theirs.count_params(), rel=1e-3)


def test_labelled_rows(split: LeaveOneOut) -> None:
    spec = FeatureSpec.of(split.store, history_length=6)
    features, labels = deepctr_models.labelled_rows("deepfm", split, spec, batch=8)
    count = 2 * len(split.train) // 8 * 8
    assert {len(value) for value in features.values()} == {count} == {len(labels)}
    assert abs(labels.mean() - 0.5) < 8 / count
    # Positives are training positives, as often as there; negatives are no one's.
    items, counts = np.unique(split.train.items, return_counts=True)
    found = np.bincount(features["item"][labels == 1], minlength=items.max() + 1)
    assert (found[items] <= counts).all()
    assert found.sum() == found[items].sum()
