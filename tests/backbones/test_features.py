import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.backbones.features import ColumnFeature, FeatureSpec
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.columns import Column
from keras_sllmr.store.ragged import Ragged

WORDS = np.array(["", "a", "b"], object)
NAN = float("nan")
COLUMNS = [
    Column("gender", "user", "categorical", np.array([0, 2, 1, 0], np.int32), WORDS),
    Column(
        "age", "user", "numeric", np.array([NAN, 1, 5, NAN], np.float32), None, 3, 2
    ),
    Column("colours", "item", "multi", Ragged.from_rows([[], [2, 1], [1]]), WORDS),
    Column("device", "context", "categorical", np.array([1, 0, 2], np.int32), WORDS),
    Column("tags", "context", "multi", Ragged.from_rows([[], [1], [2]]), WORDS),
    Column("hour", "context", "numeric", np.array([4, NAN], np.float32), None, 2, 1),
]


def _store(attributes: list[list[int]], columns: Any = ()) -> Any:
    return SimpleNamespace(
        n_users=3,
        n_items=len(attributes) - 1,
        n_attributes=max((max(row, default=0) for row in attributes), default=0),
        attributes=Ragged.from_rows(attributes),
        columns={column.name: column for column in columns},
    )


def test_sizes_of_a_store() -> None:
    spec = FeatureSpec.of(_store([[], [1, 2, 3], [4]]), history_length=7, user_id=True)
    assert spec == FeatureSpec(3, 2, 4, 7, 3, True)


@pytest.mark.parametrize(
    ("attributes", "width"), [([[], [1, 2, 3]], 2), ([[], [1]], 1), ([[], []], 1)]
)
def test_attribute_width(attributes: list[list[int]], width: int) -> None:
    spec = FeatureSpec.of(_store(attributes), max_attributes=2)
    assert spec.attribute_width == width


def test_inputs() -> None:
    spec = FeatureSpec(5, 7, 3, history_length=4, attribute_width=2, user_id=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in spec.inputs().items()}
    assert shapes == {
        "item": (None,),
        "history": (None, 4),
        "item_attributes": (None, 2),
        "history_attributes": (None, 8),
        "user": (None,),
    }
    assert {tensor.dtype.name for tensor in spec.inputs().values()} == {"int32"}


def test_a_store_without_attributes_has_no_attribute_inputs() -> None:
    assert set(FeatureSpec(5, 7, 0).inputs()) == {"item", "history"}


def test_plain_values_round_trip() -> None:
    spec = FeatureSpec(5, 7, 3, user_id=True)
    assert FeatureSpec(**spec.to_dict()) == spec


@pytest.fixture
def with_columns() -> Any:
    return _store([[], [1], [2]], COLUMNS)


def test_columns_of_a_store(with_columns: Any) -> None:
    spec = FeatureSpec.of(with_columns)
    assert spec.columns == (
        ColumnFeature("gender", "user", "categorical", 2),
        ColumnFeature("age", "user", "numeric"),
        ColumnFeature("colours", "item", "multi", 2, width=2),
        ColumnFeature("device", "context", "categorical", 2),
        ColumnFeature("tags", "context", "multi", 2, width=1),
        ColumnFeature("hour", "context", "numeric"),
    )
    assert spec.item_inputs == ("item", "item_attributes", "colours")
    inputs = {
        name: (tuple(tensor.shape), tensor.dtype.name)
        for name, tensor in spec.inputs().items()
        if name in with_columns.columns
    }
    assert inputs == {
        "gender": ((None,), "int32"),
        "age": ((None,), "float32"),
        "colours": ((None, 2), "int32"),
        "device": ((None,), "int32"),
        "tags": ((None, 1), "int32"),
        "hour": ((None,), "float32"),
    }


def test_some_columns_of_a_store(with_columns: Any) -> None:
    spec = FeatureSpec.of(with_columns, columns=["hour", "age"], max_attributes=1)
    assert [column.name for column in spec.columns] == ["age", "hour"]
    (colours,) = FeatureSpec.of(
        with_columns, columns=["colours"], max_attributes=1
    ).columns
    assert colours.width == 1
    plain = FeatureSpec.of(with_columns, columns=())
    assert plain == FeatureSpec.of(_store([[], [1], [2]]))
    assert "columns" not in plain.to_dict()
    with pytest.raises(ConfigError, match="gender, age, .*Received: price, weight"):
        FeatureSpec.of(with_columns, columns=["weight", "age", "price"])
    with pytest.raises(ConfigError, match="none. Received: age"):
        FeatureSpec.of(_store([[], [1]]), columns=["age"])


def test_columns_as_plain_values_round_trip(with_columns: Any) -> None:
    spec = FeatureSpec.of(with_columns)
    again = FeatureSpec(**json.loads(json.dumps(spec.to_dict())))
    assert again == spec and hash(again) == hash(spec)


def test_names_of_columns_are_columns_and_unique() -> None:
    age = {"name": "age", "entity": "user", "kind": "numeric"}
    with pytest.raises(ConfigError, match="Received: 'history'"):
        FeatureSpec(5, 7, 3, columns=({**age, "name": "history"},))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unique .* Received: age"):
        FeatureSpec(5, 7, 3, columns=(age, {**age, "entity": "item"}))  # type: ignore[arg-type]


def test_tables_of_columns(with_columns: Any) -> None:
    found = {
        c.name: c.table(with_columns) for c in FeatureSpec.of(with_columns).columns
    }
    expected = {
        "gender": [0, 2, 1, 0],
        "age": [0, -1, 1, 0],
        "colours": [[0, 0], [2, 1], [1, 0]],
        # Row 0 is unknown; event i is in row i + 1.
        "device": [0, 1, 0, 2],
        "tags": [[0], [0], [1], [2]],
        "hour": [0, 2, 0],
    }
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)
        numeric = name in ("age", "hour")
        assert found[name].dtype == (np.float32 if numeric else np.int32)


@pytest.mark.parametrize(
    "other",
    [
        ColumnFeature("gender", "user", "categorical", 3),
        ColumnFeature("gender", "item", "categorical", 2),
        ColumnFeature("city", "user", "categorical", 2),
    ],
)
def test_a_column_that_the_store_does_not_have(
    other: ColumnFeature, with_columns: Any
) -> None:
    with pytest.raises(ConfigError, match="must have the column .*Received: "):
        other.table(with_columns)
