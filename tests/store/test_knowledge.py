import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.knowledge import Knowledge


def given(store, width=3, **changes):
    rng = np.random.default_rng(0)
    users, items = store.n_users + 1, store.n_items + 1
    values = {
        "users": rng.normal(size=(users, width)).astype(np.float32),
        "items": rng.normal(size=(items, width)).astype(np.float32),
        "user_texts": ["", *(f"usér {n}\n" for n in range(1, users))],
        "item_texts": ["", "", *(f"item {n}" for n in range(2, items))],
        "positions": np.arange(users) % 5,
        "encoder": "tiny",
        "source": "llm",
    }
    values["users"][0] = values["items"][0] = values["items"][1] = 0
    return {**values, **changes}


def test_round_trip(small_store, tmp_path):
    values = given(small_store, teacher={"name": "t"}, cost={"usd": 1.5})
    made = Knowledge.create(tmp_path / "known", small_store, **values)
    again = Knowledge(str(tmp_path / "known"), small_store)
    for table in (made, again):
        for name in ("users", "items"):
            np.testing.assert_array_equal(getattr(table, name), values[name])
            assert getattr(table, name).dtype == np.float32
        assert table.positions.tolist() == values["positions"].tolist()
        assert table.user_texts == values["user_texts"]
        assert table.item_texts == values["item_texts"]
        assert (table.encoder, table.source) == ("tiny", "llm")
    manifest = again.manifest
    assert manifest["kind"] == "knowledge"
    assert manifest["counts"] == {"user_knowledge": 30, "item_knowledge": 40}
    assert manifest["teacher"] == {"name": "t"} and manifest["cost"] == {"usd": 1.5}


def test_row_of_the_padding_is_empty(small_store, tmp_path):
    values = given(small_store)
    values |= {"users": values["users"] + 1, "items": values["items"] + 1}
    values["user_texts"][0] = "nobody"
    table = Knowledge.create(tmp_path / "known", small_store, **values)
    assert not table.users[0].any() and not table.items[0].any()
    assert table.user_texts[0] == table.item_texts[0] == ""


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"source": "oracle"}, ConfigError, "one of llm, description. .*'oracle'"),
        ({"users": np.zeros((30, 3))}, DataError, r"a row a user .*\[31, t\]"),
        ({"items": np.full((41, 3), np.nan)}, DataError, "123 values that are not"),
        ({"items": np.ones((41, 2))}, DataError, "one width. Received: 3 and 2"),
        ({"user_texts": ["a"] * 30}, DataError, "31 in all. Received: 30"),
        ({"positions": np.zeros(30)}, DataError, "31 numbers from 0. .*shape .30."),
        ({"positions": np.full(31, -1)}, DataError, "numbers from 0. .*lowest -1"),
        ({"item_texts": []}, DataError, "a text an item .*41 in all. Received: 0"),
    ],
)
def test_wrong_input_writes_nothing(small_store, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        Knowledge.create(
            tmp_path / "known", small_store, **given(small_store, **changes)
        )
    assert list(tmp_path.iterdir()) == []


def test_another_store_and_a_missing_view(small_store, raw_of, tmp_path):
    path = Knowledge.create(tmp_path / "k", small_store, **given(small_store)).path
    other = FeatureStore.create(tmp_path / "store", raw_of([[1, 2, 3, 4]], 40))
    with pytest.raises(StoreError, match="made for the store .*sllmr knowledge"):
        Knowledge(path, other)
    with pytest.raises(StoreError, match="should be a knowledge. Received: a store"):
        Knowledge(small_store.path, small_store)
    (shard,) = path.glob("views/item_knowledge/*")
    shard.unlink()
    with pytest.raises(StoreError, match="No TFRecord files in .*item_knowledge"):
        Knowledge(path, small_store)
