import numpy as np
import pytest

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.tfrecord import example, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.training_rows import TrainingRows


@pytest.fixture(scope="module")
def rows(split):
    return TrainingRows(split, sets=2, seed=3)


@pytest.fixture(scope="module")
def scores(rows):
    drawn = np.random.default_rng(0).random(rows.items.shape, np.float32)
    drawn[2, 1] = np.nan
    drawn[3] = [0, 1, np.nan]
    return drawn


def create(path, rows, scores):
    return RowScores.create(
        path,
        rows,
        scores,
        teacher={"name": "t"},
        settings={"history": 5},
        cost={"usd": 0.0},
    )


def test_round_trip(small_store, rows, scores, tmp_path):
    made = create(tmp_path / "rows", rows, scores)
    again = RowScores(str(tmp_path / "rows"), small_store)
    for table in (made, again):
        np.testing.assert_array_equal(table.scores, scores)
        assert table.scores.dtype == np.float32
    manifest = again.manifest
    assert manifest["kind"] == "row_scores"
    assert manifest["counts"] == {"row_scores": len(rows)}
    assert manifest["missing"] == 2
    assert manifest["teacher"] == {"name": "t"} and manifest["cost"] == {"usd": 0.0}
    assert manifest["settings"] == {"history": 5, "rows": {"sets": 2, "seed": 3}}
    parent = {"store": small_store.fingerprint, "rows": rows.fingerprint}
    assert manifest["parent"] == parent


def test_same_scores_same_fingerprint(rows, scores, tmp_path):
    one, two = (create(tmp_path / name, rows, scores) for name in "ab")
    assert one.manifest["fingerprint"] == two.manifest["fingerprint"]


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.inf, -np.inf])
def test_scores_out_of_range(rows, scores, tmp_path, bad):
    create(tmp_path / "rows", rows, scores)
    spoilt = scores.copy()
    spoilt[0, 0] = bad
    with pytest.raises(DataError, match=r"in \[0, 1\], .* 1 scores out of the range"):
        create(tmp_path / "rows", rows, spoilt)
    kept = RowScores(tmp_path / "rows", rows.split.store).scores
    np.testing.assert_array_equal(kept, scores)


def test_wrong_shape(rows, scores, tmp_path):
    for wrong in (scores[1:], scores[:, 1:], scores[0]):
        with pytest.raises(DataError, match=r"have shape \[\d+, 3\]. Received: shape"):
            create(tmp_path / "rows", rows, wrong)
    assert list(tmp_path.iterdir()) == []


def test_another_stores_scores(rows, scores, raw_of, tmp_path):
    create(tmp_path / "rows", rows, scores)
    other = FeatureStore.create(tmp_path / "store", raw_of([[1, 2, 3, 4]], 40))
    with pytest.raises(StoreError, match="made for the store .*sllmr score-rows"):
        RowScores(tmp_path / "rows", other)


def test_bad_folder(small_store, rows, scores, tmp_path):
    with pytest.raises(StoreError, match="has no manifest.json"):
        RowScores(tmp_path / "nowhere", small_store)
    with pytest.raises(StoreError, match="should be a row_scores. Received: a store"):
        RowScores(small_store.path, small_store)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="exists and is not a row scores"):
        create(tmp_path / "mine", rows, scores)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_damaged(small_store, rows, scores, tmp_path):
    path = create(tmp_path / "rows", rows, scores).path
    (shard,) = path.glob("views/row_scores/*")
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        RowScores(path, small_store)
    shard.unlink()
    with pytest.raises(StoreError, match="No TFRecord files"):
        RowScores(path, small_store)
    lists = [[0.5] * 3] * (len(rows) - 1) + [[0.5]]
    write_shards(path / "views" / "row_scores", (example(scores=s) for s in lists))
    with pytest.raises(StoreError, match="all be of one length.*from 1 to 3"):
        RowScores(path, small_store)


def test_nothing_is_left_of_a_failed_writing(rows, scores, tmp_path, other_writer):
    kept = create(tmp_path / "rows", rows, scores).manifest["fingerprint"]
    with (
        other_writer(tmp_path / "rows"),
        pytest.raises(StoreError, match="Another process is writing"),
    ):
        create(tmp_path / "rows", rows, scores / 2)
    table = RowScores(tmp_path / "rows", rows.split.store)
    assert table.manifest["fingerprint"] == kept
