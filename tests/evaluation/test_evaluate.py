import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from keras_sllmr.compat import keras
from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.evaluation.evaluate import load_values, score_method
from keras_sllmr.evaluation.heldout import EvaluationSettings, TestRows
from keras_sllmr.evaluation.summary import summarise


@pytest.fixture(scope="module")
def rows(split):
    settings = EvaluationSettings(tail_share=0.5, replicates=50)
    return TestRows(split, settings)


@pytest.fixture(scope="module")
def spec(split):
    from keras_sllmr.backbones.features import FeatureSpec

    return FeatureSpec.of(split.store, history_length=4)


@pytest.fixture(scope="module")
def backbone(spec):
    from keras_sllmr.backbones.deepfm import deepfm

    return deepfm(spec, embedding_dim=4, dnn_hidden_units=[5], embedding_stddev=1.0)


def test_negatives_are_unseen_and_fixed_by_the_seed(split, rows):
    assert not split.seen(rows.targets.users, rows.negatives).any()
    again = TestRows(split, rows.settings)
    assert np.array_equal(again.negatives, rows.negatives)
    other = TestRows(split, rows.settings.model_copy(update={"seed": 1}))
    assert not np.array_equal(other.negatives, rows.negatives)


def test_an_empty_slice_is_an_error(split):
    with pytest.raises(DataError, match="'cold' must not be empty"):
        TestRows(split, EvaluationSettings(cold_max_train=0))


def test_full_ranking_agrees_with_scoring_row_by_row(
    split, rows, spec, backbone, tmp_path
):
    values = score_method(backbone, spec, rows, tmp_path / "values.npz")
    kept = load_values(tmp_path / "values.npz")
    assert all(np.array_equal(kept[name], values[name]) for name in values)
    from keras_sllmr.training.feature_tables import FeatureTables

    tables, store = FeatureTables(split, spec), split.store
    for row in (0, 7):
        user, position = rows.targets.users[row], rows.targets.positions[row]
        items = np.setdiff1d(np.arange(1, store.n_items + 1), store.events.row(user))
        asked = np.append(items, rows.targets.items[row])
        features = tables.features(
            np.full(len(asked), user), np.full(len(asked), position), asked
        )
        *others, positive = backbone(features, training=False).numpy()[:, 0]
        assert values["candidates"][row] == len(items)
        assert values["above"][row] == np.sum(np.array(others) > positive)


def test_without_the_full_ranking(split, spec, backbone, tmp_path):
    settings = EvaluationSettings(tail_share=0.5, full=False)
    values = score_method(
        backbone, spec, TestRows(split, settings), tmp_path / "values.npz"
    )
    assert set(values) == {"logits"}


def test_summary(rows):
    many = len(rows.targets)
    random = np.random.default_rng(0)
    good = np.concatenate([random.normal(2, 1, many), random.normal(0, 1, many)])
    poor = random.normal(size=2 * many)
    above = np.arange(many)
    ranks = {"ties": np.zeros(many, int), "candidates": np.full(many, 100)}
    values = {
        "none": {"logits": poor, "above": above + 20, **ranks},
        "sllmr": {"logits": good, "above": above, **ranks},
    }
    found = summarise(rows, values, labels={"none": "None"})
    assert found["methods"]["none"]["label"] == "None"
    assert found["methods"]["sllmr"]["label"] == "sllmr"
    mask = rows.slices["tail"]
    expected = roc_auc_score(np.repeat([1, 0], mask.sum()), good[np.tile(mask, 2)])
    metrics = found["methods"]["sllmr"]
    assert metrics["auc_sampled"]["tail"] == pytest.approx(expected)
    assert metrics["auc_full"]["all"] == pytest.approx(np.mean(1 - above / 100))
    assert found["slices"]["all"] == {"rows": many, "users": many}
    full = {d["slice"]: d for d in found["differences"] if d["metric"] == "auc_full"}
    assert full["all"]["difference"] == pytest.approx(0.2)
    assert full["all"]["low"] == pytest.approx(0.2)
    assert full["all"]["baseline"] == "none"
    metrics_compared = {d["metric"] for d in found["differences"]}
    assert metrics_compared == {"auc_sampled", "auc_full", "ndcg@10", "recall@10"}


def test_missing_values(tmp_path):
    with pytest.raises(StoreError, match="Run `sllmr evaluate`"):
        load_values(tmp_path / "none.npz")


def test_a_users_own_model(split, rows, tmp_path):
    from keras_sllmr.backbones.features import FeatureSpec

    item = keras.Input((), dtype="int32", name="item")
    history = keras.Input((3,), dtype="int32", name="history")
    table = keras.layers.Embedding(split.store.n_items + 1, 4)
    user = keras.layers.GlobalAveragePooling1D()(table(history))
    logit = keras.layers.Dot(axes=1)([user, table(item)])
    model = keras.Model({"item": item, "history": history}, logit)
    spec = FeatureSpec.of(split.store, history_length=3)
    values = score_method(model, spec, rows, tmp_path / "values.npz")
    assert np.isfinite(values["logits"]).all()


def test_full_ranking_with_columns(column_split, tmp_path):
    """Each test row has the context of its own target, known or not."""
    from keras_sllmr.backbones.features import FeatureSpec
    from keras_sllmr.backbones.registry import build_backbone
    from keras_sllmr.training.feature_tables import FeatureTables

    spec = FeatureSpec.of(column_split.store, history_length=4)
    model = build_backbone(
        "dcnv2", spec, embedding_dim=4, dnn_hidden_units=[5], embedding_stddev=1.0
    )
    rows = TestRows(column_split, EvaluationSettings(tail_share=0.5))
    values = score_method(model, spec, rows, tmp_path / "values.npz")
    tables, store = FeatureTables(column_split, spec), column_split.store
    for row in (0, 3, 7):
        user, position = rows.targets.users[row], rows.targets.positions[row]
        items = np.setdiff1d(np.arange(1, store.n_items + 1), store.events.row(user))
        asked = np.append(items, rows.targets.items[row])
        features = tables.features(
            np.full(len(asked), user), np.full(len(asked), position), asked
        )
        event = store.events.offsets[user] + position
        assert (
            (features["device"] == store.columns["device"].values[event]).numpy().all()
        )
        *others, positive = model(features, training=False).numpy()[:, 0]
        assert values["above"][row] == np.sum(np.array(others) > positive)
        assert values["logits"][row] == pytest.approx(positive, rel=1e-5)
