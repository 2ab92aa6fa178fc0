import itertools
import shutil

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.io.hashing import file_hashes
from keras_sllmr.io.tfrecord import examples, read_shard, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.history import history_before
from keras_sllmr.store.schema import parsing_spec
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.training_rows import TrainingRows
from keras_sllmr.store.user_slice import Catalogue, UserSlice
from keras_sllmr.training.guidance import GuidanceBlocks
from keras_sllmr.training.records import TrainingRecords


def records_of(records, view):
    """All records of a view, column by column, ragged ones as lists."""
    spec = parsing_spec(records.path / "schema.pbtxt", view)
    rows = {name: [] for name in spec}
    for shard in records.shards(view):
        for name, column in read_shard(shard, spec).items():
            if isinstance(column, tuple):
                values, offsets = column
                parts = itertools.pairwise(offsets)
                rows[name] += [values[a:b].tolist() for a, b in parts]
            else:
                rows[name] += column.tolist()
    return rows


@pytest.fixture(scope="module")
def scores(small_store, split, tmp_path_factory):
    """Five candidates of every third user, and probes of every sixth."""
    rows = []
    for user in range(3, small_store.n_users + 1, 3):
        end = int(split.train_lengths[user])
        for item in range(1 + user % 4, 36, 8):
            rows.append((user, item, item / 40, "uniform", end, -1))
        if user % 6 == 0:
            positive = int(small_store.events.row(user)[end - 1])
            rows = [row for row in rows if row[:2] != (user, positive)]
            rows.append((user, positive, 0.9, "probe", end - 1, 1))
            rows.append((user, 40, 0.1, "probe", end - 1, 0))
    names = ["user", "item", "score", "origin", "position", "label"]
    frame = pd.DataFrame(rows, columns=names).drop_duplicates(["user", "item"])
    path = tmp_path_factory.mktemp("scores") / "scores"
    return ScoreTable.create(
        path, small_store, frame, teacher={}, settings={}, cost={}, shard_size=13
    )


@pytest.fixture(scope="module")
def records(small_store, scores, tmp_path_factory):
    path = tmp_path_factory.mktemp("records") / "records"
    return TrainingRecords.create(
        path, small_store.path, scores.path, sets=3, history=4, users_per_part=7
    )


def test_labelled_rows_are_the_training_rows_left_joined(records, split, scores):
    rows = TrainingRows(split, sets=3)
    found = records_of(records, "labelled")
    assert found["user"] == rows.users.tolist()
    assert found["position"] == rows.positions.tolist()
    assert found["items"] == rows.items.tolist()
    assert found["events"] == split.train_lengths[rows.users].tolist()
    shown = history_before(split.store.events, rows.users, rows.positions, length=4)
    assert found["history"] == [row[row > 0].tolist() for row in shown]
    expected, scored = scores.lookup(rows.users[:, None], rows.items)
    assert found["scores"] == expected.tolist()
    assert found["scored"] == scored.astype(int).tolist()
    # A miss has no score, and some rows of scored users miss.
    assert 0 < scored.sum() < scored.size
    assert records.manifest["labelled_items_with_a_score"] == scored.sum()
    assert records.manifest["counts"]["labelled"] == len(rows)


@pytest.mark.parametrize("view, probes", [("guidance", False), ("probes", True)])
def test_blocks_are_those_of_the_score_table(records, split, scores, view, probes):
    block = GuidanceBlocks.of(scores, probes=probes)
    found = records_of(records, view)
    assert found["user"] == block.users.tolist()
    assert found["position"] == block.positions.tolist()
    for name in ("items", "scores", "labels"):
        rows = getattr(block, name)
        assert found[name] == [
            row[items > 0].tolist()
            for row, items in zip(rows, block.items, strict=True)
        ]
    assert records.manifest["counts"][view] == len(block)


def test_item_counts(records, split):
    np.testing.assert_array_equal(records.item_counts, split.train_counts)


def test_slices_do_not_change_the_records(records, small_store, scores, tmp_path):
    one = TrainingRecords.create(
        tmp_path / "one", small_store.path, scores.path, sets=3, history=4
    )
    for view in ("labelled", "guidance", "probes"):
        assert records_of(one, view) == records_of(records, view)
        assert len(one.shards(view)) == 1 and len(records.shards(view)) == 5
    again = TrainingRecords.create(
        tmp_path / "again",
        small_store.path,
        scores.path,
        sets=3,
        history=4,
        users_per_part=7,
    )
    skip = "manifest.json"
    assert file_hashes(again.path, skip=skip) == file_hashes(records.path, skip=skip)
    other = TrainingRecords.create(tmp_path / "other", small_store.path, sets=3, seed=1)
    items = records_of(other, "labelled")["items"]
    assert items != records_of(records, "labelled")["items"]


def test_without_scores(small_store, tmp_path):
    records = TrainingRecords.create(tmp_path / "records", small_store.path)
    found = records_of(records, "labelled")
    assert not np.any(found["scored"]) and not np.any(found["scores"])
    with pytest.raises(StoreError, match="made without scores"):
        records.shards("guidance")


def test_a_pair_with_two_scores_is_an_error(small_store, scores, tmp_path):
    path = tmp_path / "scores"
    shutil.copytree(scores.path, path)
    folder = path / "views" / "llm_score"
    shards = sorted(map(str, folder.iterdir()))
    first = next(iter(tf.data.TFRecordDataset(shards[0]).as_numpy_iterator()))
    write_shards(folder, [first])  # one more shard with a pair of the first
    with pytest.raises(DataError, match="one score a .user, item.* 1 duplicates"):
        TrainingRecords.create(tmp_path / "records", small_store.path, path)
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize("changes", [{"user_id": "stranger"}, {"item_id": "i99"}])
def test_scores_of_what_the_store_lacks(small_store, scores, tmp_path, changes):
    path = tmp_path / "scores"
    shutil.copytree(scores.path, path)
    ids = {"user_id": "u03", "item_id": "i01", "origin": "x"} | changes
    row = {name: [value] for name, value in ids.items()}
    row |= {name: np.zeros(1) for name in ("score", "spread")}
    row |= {"position": [0], "label": [-1], "answers": [1]}
    write_shards(path / "views" / "llm_score", examples(row))
    with pytest.raises(StoreError, match=f"names '{next(iter(changes.values()))}'"):
        TrainingRecords.create(tmp_path / "records", small_store.path, path)


def test_other_stores_and_wrong_arguments(records, scores, raw_of, tmp_path):
    other = FeatureStore.create(tmp_path / "store", raw_of([[3, 1, 5, 2]], 6))
    with pytest.raises(StoreError, match="for another store"):
        TrainingRecords.create(tmp_path / "records", other.path, scores.path)
    with pytest.raises(StoreError, match="was made for the store"):
        TrainingRecords(records.path, other)
    for name in ("sets", "history", "users_per_part"):
        with pytest.raises(ConfigError, match=f"`{name}` must be at least 1"):
            TrainingRecords.create(tmp_path / "records", other.path, **{name: 0})
    assert not (tmp_path / "records").exists()


def test_a_slice_of_users_too_few_to_train_on(raw_of, tmp_path):
    """Users with three events have no training row; a slice of them has none."""
    histories = [[1, 2, 3], [2, 3, 1], [4, 5, 6, 7], [3, 2, 1]]
    store = FeatureStore.create(tmp_path / "store", raw_of(histories, 9))
    records = TrainingRecords.create(
        tmp_path / "records", store.path, users_per_part=1, sets=1
    )
    assert records_of(records, "labelled")["user"] == [3]
    assert len(records.shards("labelled")) == 4


def test_user_slices_and_the_catalogue(small_store):
    some = UserSlice(small_store.path, 7, 19)
    assert (some.n_users, some.first, some.n_items) == (12, 7, small_store.n_items)
    for user in range(1, 13):
        np.testing.assert_array_equal(
            some.events.row(user), small_store.events.row(7 + user)
        )
        assert some.user_ids[user] == small_store.user_ids[7 + user]
    items = Catalogue(small_store.path)
    assert items.n_users == small_store.n_users and not len(items.events.values)
    assert items.fingerprint == small_store.fingerprint
    np.testing.assert_array_equal(items.item_ids, small_store.item_ids)
    for start, stop in ((-1, 3), (3, 3), (20, 31)):
        with pytest.raises(ConfigError, match="must be of users from 0 to 30"):
            UserSlice(small_store.path, start, stop)
