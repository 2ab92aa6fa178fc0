from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.training_rows import TrainingRows
from keras_sllmr.training.batch import LABELLED
from keras_sllmr.training.batch_settings import BatchSettings
from keras_sllmr.training.dataset import TrainingData
from keras_sllmr.training.row_inputs import RowInputs

SETTINGS = BatchSettings(rows=16)


@pytest.fixture
def rows(world: Any) -> TrainingRows:
    return TrainingRows(world.split, sets=2)


@pytest.fixture
def numbered(rows: TrainingRows) -> RowInputs:
    """Of the row in place n and column k the score (3 n + k) / 10^4."""
    numbers = np.arange(rows.items.size, dtype=np.float32).reshape(rows.items.shape)
    return RowInputs(rows, {"teacher": numbers / 1e4})


def test_sets_take_turns(rows: TrainingRows, numbered: RowInputs) -> None:
    order = np.array([4, 0])
    for epoch, column in ((0, 1), (1, 2), (2, 1), (7, 2)):
        items, found = numbered.of_epoch(order, epoch)
        assert items.tolist() == rows.items[order, column][:, np.newaxis].tolist()
        expected = [[12, 12 + column], [0, column]]
        np.testing.assert_allclose(found["teacher"] * 1e4, expected, rtol=1e-6)


def test_values_of_other_rows(rows: TrainingRows) -> None:
    with pytest.raises(DataError, match=r"for each training row, .*shape \[3, 3\]"):
        RowInputs(rows, {"teacher": np.zeros((3, 3), np.float32)})


def test_a_plan_keeps_values_and_items_together(
    world: Any, rows: TrainingRows, numbered: RowInputs
) -> None:
    data = TrainingData(
        world.split, world.tables, rows=numbered, settings=SETTINGS, seed=3
    )
    plain = TrainingData(world.split, world.tables, settings=SETTINGS, seed=3)
    for epoch in (0, 1):
        plan, expected = data.plan(epoch), plain.plan(epoch)
        np.testing.assert_array_equal(plan["user"], expected["user"])
        np.testing.assert_array_equal(plan["item"][..., 0], expected["item"][..., 0])
        places = np.rint(plan["teacher"] * 1e4).astype(int)
        row, column = places // 3, places % 3
        assert (column == [0, 1 + epoch]).all()
        np.testing.assert_array_equal(rows.users[row[..., 0]], plan["user"])
        np.testing.assert_array_equal(rows.items[row, column], plan["item"])


def test_batches_have_the_teacher(world: Any, numbered: RowInputs) -> None:
    data = TrainingData(world.split, world.tables, rows=numbered, settings=SETTINGS)
    x, y = next(iter(data.dataset()))
    np.testing.assert_array_equal(x[LABELLED]["teacher"], data.plan(0)["teacher"][0])
    assert x[LABELLED]["teacher"].shape == y.shape == (8, 2)


def test_batches_have_the_examples(world: Any, rows: TrainingRows) -> None:
    drawn = np.random.default_rng(0).integers(0, 9, (*rows.items.shape, 4), np.int32)
    inputs = RowInputs(rows, {"examples": drawn})
    data = TrainingData(world.split, world.tables, rows=inputs, settings=SETTINGS)
    x, _ = next(iter(data.dataset()))
    found = x[LABELLED]["item"]["examples"]
    np.testing.assert_array_equal(found, data.plan(0)["examples"][0])
    assert found.shape == (8, 2, 4) and found.dtype == "int32"


def test_what_rows_exclude(world: Any, numbered: RowInputs, scores_of: Any) -> None:
    with pytest.raises(ConfigError, match="`rows` and `scores` exclude each other"):
        TrainingData(
            world.split, world.tables, rows=numbered, scores=scores_of("right")
        )
    for changes in ({"negatives": 2}, {"negative_sampling": "in_batch"}):
        with pytest.raises(ConfigError, match="one uniformly drawn negative"):
            TrainingData(
                world.split,
                world.tables,
                rows=numbered,
                settings=BatchSettings(**changes),  # type: ignore[arg-type]
            )
