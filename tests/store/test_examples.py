import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.store.examples import ExamplePool, Examples
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.training_rows import TrainingRows


@pytest.fixture(scope="module")
def rows(split):
    return TrainingRows(split, sets=1)


#: Events of users 2 and 30 at position 1: a positive and a negative of each.
POOL = ExamplePool(
    users=np.array([0, 2, 2, 30, 30]),
    positions=np.array([0, 1, 1, 1, 1]),
    items=np.array([0, 22, 5, 11, 9]),
    labels=np.array([0, 1, 0, 1, 0]),
)


def given(rows, **changes):
    # Nobody sees user 30's but the others, who see nobody else's.
    neighbours = np.zeros((*rows.items.shape, 3), np.int32)
    neighbours[rows.users != 30] = [3, 0, 4]
    values = {
        "pool": POOL,
        "chains": ["", "beçause", "", "so", "not"],
        "vectors": np.arange(10, dtype=np.float32).reshape(5, 2) - [0, 1],
        "neighbours": neighbours,
        "encoder": "tiny",
        "source": "description",
    }
    values["vectors"][0] = 0
    return {**values, **changes}


def test_round_trip(small_store, split, rows, tmp_path):
    values = given(rows)
    made = Examples.create(
        tmp_path / "ex", rows, **values, settings={"k": 3}, cost={"usd": 2.0}
    )
    again = Examples(str(tmp_path / "ex"), small_store)
    for table in (made, again):
        for name in ("users", "positions", "items", "labels"):
            for held in (table, table.pool):
                np.testing.assert_array_equal(getattr(held, name), getattr(POOL, name))
                assert getattr(held, name).dtype == np.int64
        assert table.chains == values["chains"]
        np.testing.assert_array_equal(table.vectors, values["vectors"])
        np.testing.assert_array_equal(table.neighbours, values["neighbours"])
        assert table.vectors.dtype == np.float32
        assert table.neighbours.dtype == np.int32
        assert (table.sets, table.seed) == (1, 0)
        assert (table.encoder, table.source) == ("tiny", "description")
        assert len(table.pool) == 4
    np.testing.assert_array_equal(again.rows(split).items, rows.items)
    assert again.manifest["counts"] == {"example": 4, "row_neighbours": len(rows)}
    assert again.manifest["settings"]["k"] == 3
    assert again.manifest["cost"] == {"usd": 2.0}


def _shown(rows, place, user):
    neighbours = given(rows)["neighbours"]
    neighbours[rows.users == user] = place
    return {"neighbours": neighbours}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (lambda _: {"source": "me"}, ConfigError, "`source` must be one of"),
        (lambda _: {"chains": ["", "a"]}, DataError, "5 in all. Received: 2"),
        (lambda _: {"vectors": np.ones((4, 2))}, DataError, r"shape \[5, t\]"),
        (lambda r: _shown(r, 5, 1), DataError, "0 to 4. Received: 5"),
        (lambda r: _shown(r, -1, 1), DataError, "0 to 4. Received: -1"),
        # User 2's first row is at position 1, its own example's.
        (lambda r: _shown(r, 1, 2), DataError, "own position or a later .*: 6 such"),
        (
            lambda r: {"neighbours": np.zeros(r.items.shape, int)},
            DataError,
            r"of shape \[\d+, 2, k\]",
        ),
        (
            lambda r: {"neighbours": np.zeros((*r.items.shape, 2))},
            DataError,
            "whole numbers .*float64",
        ),
    ],
)
def test_wrong_input_writes_nothing(rows, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        Examples.create(tmp_path / "ex", rows, **given(rows, **changes(rows)))
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_example_of_the_same_user_may_be_shown(rows, tmp_path):
    later = rows.positions > 1
    neighbours = given(rows)["neighbours"]
    neighbours[(rows.users == 2) & later] = [1, 2, 0]
    made = Examples.create(tmp_path / "ex", rows, **given(rows, neighbours=neighbours))
    np.testing.assert_array_equal(made.neighbours, neighbours)


def test_another_store_and_damage(small_store, rows, raw_of, tmp_path):
    path = Examples.create(tmp_path / "ex", rows, **given(rows)).path
    other = FeatureStore.create(tmp_path / "store", raw_of([[1, 2, 3, 4]], 40))
    with pytest.raises(StoreError, match="made for the store .*sllmr examples"):
        Examples(path, other)
    with pytest.raises(StoreError, match="has no manifest.json"):
        Examples(tmp_path / "nowhere", small_store)
    (shard,) = path.glob("views/row_neighbours/*")
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        Examples(path, small_store)
