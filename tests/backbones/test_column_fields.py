"""Further columns of users, items and context as fields of every backbone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.backbones.user_once import UserOnce
from keras_sllmr.compat import keras, tf
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.batch import LABELLED
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.selective_model import SelectiveModel

Shuffle = Callable[[Any], Any]
NUMERIC = ("age", "price", "hour")
SMALL: dict[str, dict[str, Any]] = {
    "xdeepfm": {"cin_layer_size": (4, 3)},
    "autoint": {"att_embedding_size": 3},
    "din": {"att_hidden_size": (5, 3)},
}


class Case(NamedTuple):
    """A model of random weights and the features of the users' test rows."""

    model: Any
    spec: FeatureSpec
    tables: FeatureTables
    user: dict[str, Any]
    #: `[users, 3, ...]`
    item: dict[str, Any]

    def rows(self) -> dict[str, Any]:
        """The same, one row a user and item."""
        repeated = {name: tf.repeat(x, 3, axis=0) for name, x in self.user.items()}
        return repeated | _flat(self.item)


def _flat(features: dict[str, Any]) -> dict[str, Any]:
    return {name: tf.reshape(x, [-1, *x.shape[2:]]) for name, x in features.items()}


@pytest.fixture(scope="module")
def tables(column_split: LeaveOneOut) -> FeatureTables:
    spec = FeatureSpec.of(column_split.store, history_length=3)
    assert len(spec.columns) == 9
    return FeatureTables(column_split, spec)


@pytest.fixture(params=BACKBONES)
def case(
    request: pytest.FixtureRequest, tables: FeatureTables, shuffle_weights: Shuffle
) -> Case:
    small = {"embedding_dim": 4, "dnn_hidden_units": (6, 5), "dnn_dropout": 0.0}
    options = small | SMALL.get(request.param, {})
    model = shuffle_weights(build_backbone(request.param, tables.spec, **options))
    users = np.arange(1, 13)
    targets = tables.user_features(users, np.full(12, 3))
    items = np.stack([users, users + 12, users + 24], axis=1)
    return Case(model, tables.spec, tables, targets, tables.item_features(items))


def test_every_column_counts(case: Case) -> None:
    rows = case.rows()
    logits = case.model(rows)
    for column in case.spec.columns:
        other = tf.roll(rows[column.name], 7, axis=0)
        changed = case.model({**rows, column.name: other})
        assert np.ptp(logits - changed) > 1e-3, column.name


def test_what_is_unknown_adds_nothing(case: Case) -> None:
    rows = case.rows()
    unknown = {
        column.name: tf.zeros_like(rows[column.name]) for column in case.spec.columns
    }
    logits = case.model({**rows, **unknown})
    bags = case.model.get_layer("embedding")
    for column in case.spec.columns:
        if column.kind != "numeric":
            table = bags.table.numpy()
            table[bags.rows(column.name)] = 9
            bags.table.assign(table)
    for side in ("item", "user"):
        numbers = case.model.get_layer(f"{side}_numbers")
        numbers.set_weights([w + 9 for w in numbers.get_weights()])
    np.testing.assert_array_equal(case.model({**rows, **unknown}), logits)
    assert np.ptp(case.model(rows) - logits) > 0.1


def test_a_users_side_once(case: Case) -> None:
    once = UserOnce(case.model, case.spec.item_inputs)
    of_row = tf.repeat(tf.range(12), 3)
    logits = once(case.user, _flat(case.item), of_row)
    np.testing.assert_allclose(logits, case.model(case.rows()), rtol=1e-5, atol=1e-5)


def test_the_grid_scores_as_rows_do(case: Case) -> None:
    scorer = GridScorer(
        case.model, item_inputs=case.spec.item_inputs, user_chunk=5, item_block=17
    )
    catalogue = np.arange(1, case.spec.n_items + 1)
    scorer.set_items(case.tables.item_features(catalogue))
    scores = scorer.score(case.user)
    every = case.tables.item_features(np.tile(catalogue, (12, 1)))
    rows = case._replace(item=every)
    repeated = {
        name: tf.repeat(x, len(catalogue), axis=0) for name, x in case.user.items()
    }
    expected = case.model(repeated | _flat(rows.item), training=False)
    expected = np.reshape(expected, scores.shape)
    scale = max(1, np.abs(expected).max())
    np.testing.assert_allclose(scores / scale, expected / scale, atol=1e-5)


def test_save_and_load(case: Case, tmp_path: Path) -> None:
    case.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(case.model(case.rows()), loaded(case.rows()))
    assert loaded.get_config() == case.model.get_config()


def test_one_step_reaches_all_weights(case: Case) -> None:
    model = SelectiveModel(case.model, item_inputs=case.spec.item_inputs)
    model.compile(
        keras.optimizers.SGD(0.5),
        keras.losses.BinaryCrossentropy(from_logits=True),
        run_eagerly=True,  # tracing would take most of the time
    )
    before = [weight.numpy() for weight in case.model.trainable_weights]
    block = {LABELLED: {"user": case.user, "item": case.item}}
    y = tf.tile([[1.0, 0.0, 0.0]], [12, 1])
    history = model.fit(tf.data.Dataset.from_tensors((block, y)), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    for weight, old in zip(case.model.trainable_weights, before, strict=True):
        assert (weight.numpy() != old).any(), weight.name
        assert np.isfinite(weight.numpy()).all(), weight.name


def test_columns_may_be_called_as_layers_are(tables: FeatureTables) -> None:
    names = ("dnn", "flat", "fields", "embedding", "user_numbers", "fm", "linear")
    columns = tuple(
        {"name": name, "entity": "user", "kind": "numeric"} for name in names
    )
    spec = FeatureSpec(5, 7, 3, columns=columns)  # type: ignore[arg-type]
    model = build_backbone("deepfm", spec, embedding_dim=2)
    assert set(names) < set(model.input)


def test_a_store_without_columns_has_the_same_model_as_ever(
    split: LeaveOneOut, column_split: LeaveOneOut
) -> None:
    plain = FeatureSpec.of(split.store)
    none = FeatureSpec.of(column_split.store, columns=())
    assert plain == none
    names = {layer.name for layer in build_backbone("deepfm", none).layers}
    assert not {"item_numbers", "user_numbers"} & names
