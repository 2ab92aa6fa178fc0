import numpy as np
import pytest

from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.evaluate import evaluate_model
from keras_sllmr.evaluation.heldout import EvaluationSettings, TestRows


@pytest.fixture(scope="module")
def rows(split):
    settings = EvaluationSettings(tail_share=0.5)
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


def test_slices_of_a_users_own(split, column_split):
    by = {"by": "history_length", "edges": [4, 8]}
    rows = TestRows(split, EvaluationSettings(tail_share=0.5, slices=(by,)))
    assert list(rows.slices)[3:] == [
        "history_length < 4",
        "4 <= history_length < 8",
        "history_length >= 8",
    ]
    never = {"by": "history_length", "edges": [1]}
    with pytest.raises(DataError, match="'history_length < 1' must not be empty"):
        TestRows(split, EvaluationSettings(tail_share=0.5, slices=(never,)))
    allowed = EvaluationSettings(tail_share=0.5, slices=(never,), empty="none")
    assert not TestRows(split, allowed).slices["history_length < 1"].any()
    with pytest.raises(ConfigError, match="twice"):
        TestRows(split, EvaluationSettings(tail_share=0.5, slices=(by, by)))


def test_results_are_comparable_on_the_same_rows(split, rows):
    def fingerprint(**changes):
        settings = EvaluationSettings(**{"tail_share": 0.5, **changes})
        return TestRows(split, settings).fingerprint

    assert fingerprint() == rows.fingerprint
    assert fingerprint(compare={"replicates": 9}, full=False) == rows.fingerprint
    for change in ({"seed": 1}, {"tail_share": 0.4}, {"k": 5}):
        assert fingerprint(**change) != rows.fingerprint


def test_full_ranking_agrees_with_scoring_row_by_row(split, rows, spec, backbone):
    result = evaluate_model(
        backbone, spec, rows, domain="d", method="none", seed=3, note="kept"
    )
    assert result.identity == ("d", "", "none", 3)
    assert result.about["note"] == "kept"
    assert list(result.slices) == list(rows.slices)
    values = result.ranks
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


def test_without_the_full_ranking(split, spec, backbone):
    settings = EvaluationSettings(tail_share=0.5, full=False)
    result = evaluate_model(backbone, spec, TestRows(split, settings))
    assert result.ranks == {}
    assert len(result.logits) == 2 * len(result.users)


def test_a_users_own_model(split, rows):
    from keras_sllmr.backbones.features import FeatureSpec

    item = keras.Input((), dtype="int32", name="item")
    history = keras.Input((3,), dtype="int32", name="history")
    table = keras.layers.Embedding(split.store.n_items + 1, 4)
    user = keras.layers.GlobalAveragePooling1D()(table(history))
    logit = keras.layers.Dot(axes=1)([user, table(item)])
    model = keras.Model({"item": item, "history": history}, logit)
    spec = FeatureSpec.of(split.store, history_length=3)
    assert np.isfinite(evaluate_model(model, spec, rows).logits).all()


def test_full_ranking_with_columns(column_split):
    """Each test row has the context of its own target, known or not."""
    from keras_sllmr.backbones.features import FeatureSpec
    from keras_sllmr.backbones.registry import build_backbone
    from keras_sllmr.training.feature_tables import FeatureTables

    spec = FeatureSpec.of(column_split.store, history_length=4)
    model = build_backbone(
        "dcnv2", spec, embedding_dim=4, dnn_hidden_units=[5], embedding_stddev=1.0
    )
    rows = TestRows(column_split, EvaluationSettings(tail_share=0.5))
    result = evaluate_model(model, spec, rows)
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
        assert result.ranks["above"][row] == np.sum(np.array(others) > positive)
        assert result.logits[row] == pytest.approx(positive, rel=1e-5)
