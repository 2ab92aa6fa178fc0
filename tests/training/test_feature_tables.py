import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.columns import Column
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables

HISTORIES = [[1, 2, 3, 4], [4, 3, 1]]
ATTRIBUTES = [[], [1], [2, 3], [], [1, 2, 3]]
SPEC = FeatureSpec(
    n_users=2,
    n_items=4,
    n_attributes=3,
    history_length=2,
    attribute_width=2,
    user_id=True,
)


NAN = float("nan")
WORDS = np.array(["", "a", "b"], object)


def _column(name: str, entity: Any, kind: Any, values: Any) -> Column:
    if kind == "numeric":
        return Column(name, entity, kind, np.array(values, np.float32), mean=1, std=2)
    values = Ragged.from_rows(values) if kind == "multi" else np.array(values, np.int32)
    return Column(name, entity, kind, values, WORDS)


#: of the users 0 to 2, the items 0 to 4 and the events, 4 of user 1 and 3 of user 2.
COLUMNS = [
    _column("gender", "user", "categorical", [0, 2, 1]),
    _column("hobbies", "user", "multi", [[], [1, 2], []]),
    _column("age", "user", "numeric", [NAN, 3, NAN]),
    _column("brand", "item", "categorical", [0, 1, 2, 0, 1]),
    _column("colours", "item", "multi", [[], [2, 1], [], [1], [2]]),
    _column("price", "item", "numeric", [NAN, 1, 5, NAN, -1]),
    _column("device", "context", "categorical", [1, 2, 0, 1, 2, 1, 2]),
    _column("tags", "context", "multi", [[1], [2], [], [1, 2], [2, 1], [], [1]]),
    _column("hour", "context", "numeric", [1, 3, NAN, 7, 9, 11, 13]),
]


def _split(histories: list[list[int]], columns: Any = ()) -> LeaveOneOut:
    store: Any = SimpleNamespace(
        events=Ragged.from_rows([[], *histories]),
        attributes=Ragged.from_rows(ATTRIBUTES),
        n_users=len(histories),
        n_items=4,
        n_attributes=3,
        first=0,
        columns={column.name: column for column in columns},
    )
    return LeaveOneOut(store)


def test_features_of_hand_made_rows() -> None:
    rows = FeatureTables(_split(HISTORIES), SPEC).features(
        np.array([1, 1, 2, 2]), np.array([3, 1, 2, 0]), np.array([4, 3, 1, 2])
    )
    expected = {
        "user": [1, 1, 2, 2],
        "item": [4, 3, 1, 2],
        "history": [[2, 3], [0, 1], [4, 3], [0, 0]],
        "item_attributes": [[1, 2], [0, 0], [1, 0], [2, 3]],
        "history_attributes": [[2, 3, 0, 0], [0, 0, 1, 0], [1, 2, 0, 0], [0] * 4],
    }
    assert set(rows) == set(expected)
    for name, values in expected.items():
        assert rows[name].dtype == tf.int32
        np.testing.assert_array_equal(rows[name], values)


def test_blocks_keep_their_shape() -> None:
    tables = FeatureTables(_split(HISTORIES), SPEC)
    users, positions = np.array([[1, 1, 1], [2, 2, 2]]), np.array([[3] * 3, [1] * 3])
    rows = tables.features(users, positions, np.array([[1, 2, 4], [0, 2, 3]]))
    assert rows["item"].shape == (2, 3) and rows["history"].shape == (2, 3, 2)
    assert rows["history_attributes"].shape == (2, 3, 4)
    np.testing.assert_array_equal(rows["item_attributes"][1], [[0, 0], [2, 3], [0, 0]])
    np.testing.assert_array_equal(rows["history"][1], [[0, 4]] * 3)


def test_unknown_sizes_in_a_pipeline() -> None:
    tables = FeatureTables(_split(HISTORIES), SPEC)
    rows = (np.array([1, 2, 1]), np.array([2, 2, 3]), np.array([3, 1, 4]))
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(2).map(tables.features)
    batches = list(dataset)
    assert [len(batch["item"]) for batch in batches] == [2, 1]
    together = tables.features(*rows)
    for name, values in together.items():
        parts = np.concatenate([batch[name] for batch in batches])
        np.testing.assert_array_equal(parts, values)


def test_only_what_is_asked_for() -> None:
    names = ["history", "item"]
    tables = FeatureTables(_split(HISTORIES), SPEC, names=names)
    rows = tables.features(np.array([1]), np.array([2]), np.array([3]))
    assert list(rows) == names


def test_a_feature_that_the_store_does_not_have() -> None:
    with pytest.raises(ConfigError, match="among .*history.*Received: age, price"):
        FeatureTables(_split(HISTORIES), SPEC, names=["price", "item", "age"])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nothing_at_or_after_the_position_is_read(data: Any) -> None:
    user = data.draw(st.integers(1, 2))
    position = data.draw(st.integers(0, len(HISTORIES[user - 1])))
    changed = [list(row) for row in HISTORIES]
    for place in range(position, len(changed[user - 1])):
        changed[user - 1][place] = data.draw(st.integers(1, 4))
    changed[2 - user] = data.draw(st.permutations(changed[2 - user]))
    one, other = (
        FeatureTables(_split(rows), SPEC).features(
            np.array([user]), np.array([position]), np.array([2])
        )
        for rows in (HISTORIES, changed)
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name])


@pytest.fixture
def with_columns() -> FeatureTables:
    split = _split(HISTORIES, COLUMNS)
    return FeatureTables(split, FeatureSpec.of(split.store, history_length=2))


def _equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name, values in expected.items():
        numeric = name in ("age", "price", "hour")
        assert found[name].dtype == (tf.float32 if numeric else tf.int32)
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_columns_of_users_and_context(with_columns: FeatureTables) -> None:
    # User 1 at its first and its last event, user 2 at its second, nobody.
    users, positions = np.array([1, 1, 2, 0]), np.array([0, 3, 1, 0])
    found = with_columns.user_features(users, positions)
    expected = {
        "gender": [2, 2, 1, 0],
        "hobbies": [[1, 2], [1, 2], [0, 0], [0, 0]],
        "age": [1, 1, 0, 0],
        "device": [1, 1, 1, 0],
        "tags": [[1, 0], [1, 2], [0, 0], [0, 0]],
        "hour": [0, 3, 5, 0],
    }
    _equal(found, expected)
    assert not {"item", "brand", "colours", "price"} & set(found)


def test_columns_of_items(with_columns: FeatureTables) -> None:
    found = with_columns.item_features(np.array([[1, 2], [0, 4]]))
    expected = {
        "brand": [[1, 2], [0, 1]],
        "colours": [[[2, 1], [0, 0]], [[0, 0], [2, 0]]],
        "price": [[0, 2], [0, -1]],
    }
    _equal(found, expected)
    assert set(found) == {"item", "item_attributes", *expected}


def test_the_next_event_has_no_known_context(with_columns: FeatureTables) -> None:
    # Position 4 of user 1 would be the first event of user 2.
    found = with_columns.user_features(np.array([1, 2]), np.array([4, 3]))
    _equal(found, {"device": [0, 0], "tags": [[0, 0]] * 2, "hour": [0, 0]})
    _equal(found, {"gender": [2, 1], "history": [[3, 4], [3, 1]]})


def test_training_knows_no_context_of_held_out_events(
    with_columns: FeatureTables,
) -> None:
    users, positions = np.array([1, 1, 1, 2, 2]), np.array([1, 2, 3, 0, 1])
    found = with_columns.user_features(users, positions, training=True)
    _equal(found, {"device": [2, 0, 0, 2, 0], "hour": [1, 0, 0, 4, 0]})
    _equal(found, {"tags": [[2, 0], [0, 0], [0, 0], [2, 1], [0, 0]]})


def test_columns_in_a_pipeline(with_columns: FeatureTables) -> None:
    rows = (np.array([1, 2, 1]), np.array([2, 2, 3]), np.array([3, 1, 4]))
    together = with_columns.features(*rows)
    assert list(together) == list(with_columns.spec.inputs())
    dataset = tf.data.Dataset.from_tensor_slices(rows).batch(2)
    batches = list(dataset.map(with_columns.features))
    for name, values in together.items():
        parts = np.concatenate([batch[name] for batch in batches])
        np.testing.assert_array_equal(parts, values)


def test_columns_that_are_asked_for_alone() -> None:
    split = _split(HISTORIES, COLUMNS)
    spec = FeatureSpec.of(split.store, columns=["age", "hour"])
    tables = FeatureTables(split, spec, names=["item", "hour"])
    found = tables.features(np.array([2]), np.array([0]), np.array([3]))
    assert list(found) == ["item", "hour"]
    with pytest.raises(ConfigError, match="Received: brand"):
        FeatureTables(split, spec, names=["brand"])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_of_context_columns_the_targets_own_alone_is_read(data: Any) -> None:
    user = data.draw(st.integers(1, 2))
    position = data.draw(st.integers(0, len(HISTORIES[user - 1])))
    place = (0, 0, 4)[user] + position
    changed = []
    for column in COLUMNS:
        if column.entity == "context":
            rows = (
                [column.values.row(n) for n in range(7)]
                if column.kind == "multi"
                else column.values
            )
            cells = [
                rows[n]
                if n == place < (0, 4, 7)[user]
                else data.draw(st.sampled_from(list(rows)))
                for n in range(7)
            ]
            column = _column(column.name, "context", column.kind, cells)
        changed.append(column)
    spec = FeatureSpec.of(_split(HISTORIES, COLUMNS).store, history_length=2)
    one, other = (
        FeatureTables(_split(HISTORIES, columns), spec).user_features(
            np.array([user]), np.array([position])
        )
        for columns in (COLUMNS, changed)
    )
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_rows_that_would_know_their_target_have_no_user(world: Any) -> None:
    spec = dataclasses.replace(world.spec, user_index=True)
    known_from = np.full(world.split.store.n_users + 1, 2)
    tables = FeatureTables(world.split, spec, known_from=known_from)
    users, positions = np.array([3, 3, 3]), np.array([1, 2, 3])
    found = tables.features(users, positions, np.array([1, 1, 1]))
    assert found["user"].numpy().tolist() == [0, 3, 3]
    always = FeatureTables(world.split, spec).features(users, positions, users)
    assert always["user"].numpy().tolist() == [3, 3, 3]
