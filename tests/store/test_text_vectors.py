import numpy as np
import pytest

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.text_vectors import TextVectors


def vectors(rows=41, width=3):
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    values[0] = 0
    return values


def create(path, store, values, encoder="tiny"):
    return TextVectors.create(path, store, values, encoder=encoder)


def test_round_trip(small_store, tmp_path):
    values = vectors()
    values[7] = 0  # an item without a text
    made = create(tmp_path / "text", small_store, values, encoder="é/mini")
    again = TextVectors(str(tmp_path / "text"), small_store)
    for table in (made, again):
        np.testing.assert_array_equal(table.vectors, values)
        assert table.vectors.dtype == np.float32
        assert table.encoder == "é/mini"
    manifest = again.manifest
    assert manifest["kind"] == "item_text"
    assert manifest["settings"] == {"encoder": "é/mini", "dimension": 3}
    assert manifest["counts"] == {"item_text": 40}
    assert manifest["parent"] == {"store": small_store.fingerprint}


@pytest.mark.parametrize("kind", [np.float64, np.float16, np.int64, np.int8])
def test_any_number_type(small_store, tmp_path, kind):
    values = (vectors() * 4).astype(kind)
    table = create(tmp_path / "text", small_store, values)
    np.testing.assert_array_equal(table.vectors, values.astype(np.float32))


def test_row_of_the_padding_is_zero(small_store, tmp_path):
    table = create(tmp_path / "text", small_store, vectors() + 1)
    assert table.vectors[0].tolist() == [0, 0, 0]


def test_same_vectors_same_fingerprint(small_store, tmp_path):
    one = create(tmp_path / "one", small_store, vectors())
    two = create(tmp_path / "two", small_store, vectors())
    other = create(tmp_path / "three", small_store, vectors() * 2)
    fingerprints = [table.manifest["fingerprint"] for table in (one, two, other)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_odd_ids(odd_store, tmp_path):
    values = vectors(odd_store.n_items + 1, 2)
    table = create(tmp_path / "текст", odd_store, values)
    np.testing.assert_array_equal(table.vectors, values)


@pytest.mark.parametrize("rows", [0, 1, 40, 42])
def test_wrong_rows(small_store, tmp_path, rows):
    with pytest.raises(
        DataError, match=rf"shape \[41, t\]. Received: shape \[{rows}, 3\], 0 values"
    ):
        create(tmp_path / "text", small_store, np.zeros((rows, 3)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(41,), (41, 0), (41, 2, 2), ()])
def test_wrong_shape(small_store, tmp_path, shape):
    with pytest.raises(DataError, match=r"must be finite and have a row an item"):
        create(tmp_path / "text", small_store, np.zeros(shape))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_values_that_are_not_finite(small_store, tmp_path, bad):
    values = vectors().astype(np.float64)
    create(tmp_path / "text", small_store, values)
    values[5, 1] = values[6, 0] = bad
    with pytest.raises(DataError, match="2 values that are not finite"):
        create(tmp_path / "text", small_store, values)
    kept = TextVectors(tmp_path / "text", small_store).vectors
    assert np.isfinite(kept).all()


def test_another_stores_vectors(small_store, raw_of, tmp_path):
    create(tmp_path / "text", small_store, vectors())
    other = FeatureStore.create(tmp_path / "store", raw_of([[1, 2, 3, 4]], 40))
    with pytest.raises(StoreError, match="made for the store .*sllmr encode"):
        TextVectors(tmp_path / "text", other)


def test_bad_folder(small_store, tmp_path):
    with pytest.raises(StoreError, match="has no manifest.json"):
        TextVectors(tmp_path / "nowhere", small_store)
    with pytest.raises(StoreError, match="should be a item_text. Received: a store"):
        TextVectors(small_store.path, small_store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists and is not a item text"):
        create(tmp_path / "mine", small_store, vectors())
    assert (tmp_path / "mine" / "notes.txt").read_text() == "mine"


def test_damaged_shard(small_store, tmp_path):
    path = create(tmp_path / "text", small_store, vectors()).path
    (shard,) = path.glob("views/item_text/*")
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        TextVectors(path, small_store)
    shard.unlink()
    with pytest.raises(StoreError, match="No TFRecord files"):
        TextVectors(path, small_store)


def test_two_jobs_write_one_table(small_store, tmp_path, other_writer):
    create(tmp_path / "text", small_store, vectors())
    with (
        other_writer(tmp_path / "text"),
        pytest.raises(StoreError, match="Another process is writing .*text"),
    ):
        create(tmp_path / "text", small_store, vectors() * 2)
    kept = TextVectors(tmp_path / "text", small_store).vectors
    np.testing.assert_array_equal(kept, vectors())
