from types import SimpleNamespace

import numpy as np
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.user_uncertainty import user_uncertainty
from keras_sllmr.training.feature_tables import FeatureTables


@pytest.fixture(scope="module")
def trained(split):
    spec = FeatureSpec.of(split.store, history_length=4)
    backbone = deepfm(spec, embedding_dim=4, dnn_hidden_units=[5], embedding_stddev=1.0)
    return SimpleNamespace(backbone=backbone, spec=spec)


def test_is_the_mean_entropy_over_the_catalogue(split, trained):
    seen = []
    found = user_uncertainty(
        trained, split, chunk=7, progress=lambda *at: seen.append(at)
    )
    users, items = split.store.n_users, split.store.n_items
    assert found.shape == (users + 1,) and found[0] == 0
    assert seen[-1] == (users, users)
    tables = FeatureTables(split, trained.spec)
    for user in (1, users):
        everything = np.arange(1, items + 1)
        features = tables.features(
            np.full(items, user),
            np.full(items, split.train_lengths[user]),
            everything,
        )
        logits = trained.backbone(features, training=False).numpy()[:, 0]
        p = 1 / (1 + np.exp(-logits.astype(float)))
        entropy = -(p * np.log2(p) + (1 - p) * np.log2(1 - p))
        assert found[user] == pytest.approx(entropy.mean(), rel=1e-4)


def test_a_sample_of_the_catalogue_is_seeded(split, trained):
    one, same, other = (
        user_uncertainty(trained, split, items=2, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_model_of_another_catalogue(split, trained):
    spec = SimpleNamespace(n_users=3, n_items=4)
    other = SimpleNamespace(backbone=trained.backbone, spec=spec)
    with pytest.raises(ConfigError, match="a model of 3 users and 4 items"):
        user_uncertainty(other, split)
