from types import SimpleNamespace
from typing import Any

import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.store.ragged import Ragged


def _store(attributes: list[list[int]]) -> Any:
    return SimpleNamespace(
        n_users=3,
        n_items=len(attributes) - 1,
        n_attributes=max((max(row, default=0) for row in attributes), default=0),
        attributes=Ragged.from_rows(attributes),
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
