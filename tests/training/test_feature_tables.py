from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
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


def _split(histories: list[list[int]]) -> LeaveOneOut:
    store: Any = SimpleNamespace(
        events=Ragged.from_rows([[], *histories]),
        attributes=Ragged.from_rows(ATTRIBUTES),
        n_users=len(histories),
        n_items=4,
        n_attributes=3,
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
