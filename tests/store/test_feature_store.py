import dataclasses
import json
import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

from keras_sllmr.errors import StoreError
from keras_sllmr.io.hashing import file_hashes
from keras_sllmr.store import records
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.text_vectors import TextVectors

HISTORY = "views/user_history/part-00000-of-00001.tfrecord"
ITEMS = "views/item_content/part-00000-of-00001.tfrecord"


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def names(folder):
    return {path.name for path in folder.iterdir()}


def visible(folder):
    """What lies in a folder, the writers' locks aside."""
    return {name for name in names(folder) if not name.endswith(".lock")}


def test_reads_what_was_imported(small_store, small_raw):
    store = small_store
    assert (store.n_users, store.n_items, store.n_attributes) == (30, 40, 3)
    assert store.user_ids.tolist() == ["", *(f"u{n:02d}" for n in range(1, 31))]
    assert store.item_ids.tolist() == ["", *small_raw.items["item"]]
    assert store.item_texts.tolist() == ["", *small_raw.items["text"]]
    assert store.attribute_names.tolist() == ["", "kind=1", "kind=2", "odd"]
    assert store.user_index["u07"] == 7 and store.item_index["i40"] == 40
    assert "" not in store.user_index and "" not in store.item_index
    assert len(store.events) == 31 and len(store.attributes) == 41
    # User 1 begins at item 8 and takes every third of the 40.
    assert store.events.row(1).tolist() == [8, 11, 14, 17, 20, 23]
    assert store.events.row(0).tolist() == store.attributes.row(0).tolist() == []
    assert store.attributes.padded(2)[:4].tolist() == [[0, 0], [1, 0], [2, 3], [0, 0]]


def test_events_are_those_of_the_raw_data(small_store, small_raw):
    for user, rows in small_raw.interactions.groupby("user"):
        events = small_store.events.row(small_store.user_index[user])
        assert small_store.item_ids[events].tolist() == rows["item"].tolist()


def test_manifest(small_store):
    manifest = small_store.manifest
    assert manifest["counts"] == {
        "user_history": 30,
        "item_content": 40,
        "attribute": 3,
        "interactions": 255,
    }
    assert manifest["parent"]["kind"] == "test"
    assert manifest["settings"] == {"min_events": 5}
    assert manifest["dropped"] == {"duplicate_rows": 2}
    assert manifest["notes"] == {"items_without_text": 1}
    assert set(manifest["files"]) == {
        "schema.pbtxt",
        HISTORY,
        ITEMS,
        "views/attribute/part-00000-of-00001.tfrecord",
    }


def test_without_attributes_and_with_unseen_items(raw_of, tmp_path):
    store = FeatureStore.create(tmp_path / "store", raw_of([[3, 1, 5, 2]], 6))
    assert store.n_attributes == 0 and store.attribute_names.tolist() == [""]
    assert store.attributes.lengths.tolist() == [0] * 7
    assert store.events.row(1).tolist() == [3, 1, 5, 2]
    assert store.n_items == 6


def test_odd_ids_and_texts(odd_store, odd_raw):
    ids = odd_raw.items["item"].tolist()
    assert odd_store.user_ids.tolist() == odd_store.item_ids.tolist() == ["", *ids]
    assert odd_store.item_texts.tolist() == ["", *odd_raw.items["text"]]
    for place, labels in enumerate(odd_raw.items["attributes"], start=1):
        found = odd_store.attribute_names[odd_store.attributes.row(place)]
        assert found.tolist() == labels
    for user, rows in odd_raw.interactions.groupby("user"):
        events = odd_store.events.row(odd_store.user_index[user])
        assert odd_store.item_ids[events].tolist() == rows["item"].tolist()
    FeatureStore(odd_store.path, verify=True)


def test_same_data_same_files(small_store, small_raw, tmp_path):
    again = FeatureStore.create(tmp_path / "elsewhere", small_raw)
    assert again.fingerprint == small_store.fingerprint
    for name in small_store.manifest["files"]:
        one, two = (store.path / name for store in (small_store, again))
        assert one.read_bytes() == two.read_bytes()


def test_other_data_other_fingerprint(small_store, small_raw, tmp_path):
    items = small_raw.items.assign(text="other")
    raw = dataclasses.replace(small_raw, items=items)
    other = FeatureStore.create(tmp_path / "store", raw)
    assert other.fingerprint != small_store.fingerprint


def test_replaces_a_store(stored, raw_of):
    store = FeatureStore.create(stored, raw_of([[1, 2, 3, 4]], 4))
    assert store.n_users == 1 and FeatureStore(stored, verify=True).n_items == 4
    assert visible(stored.parent) == {"store"}


def test_replaces_a_store_of_another_version(stored, small_raw):
    edit(stored, schema_version=0)
    assert FeatureStore.create(stored, small_raw).n_users == 30


def test_fills_an_empty_folder(tmp_path, small_raw):
    (tmp_path / "store").mkdir()
    assert FeatureStore.create(tmp_path / "store", small_raw).n_users == 30


def test_does_not_replace_what_is_no_store(small_store, tmp_path, small_raw):
    folder, file = tmp_path / "thesis", tmp_path / "notes.txt"
    folder.mkdir()
    (folder / "chapter1.tex").write_text("mine")
    file.write_text("mine")
    vectors = TextVectors.create(
        tmp_path / "text", small_store, np.ones((41, 2)), encoder="e"
    )
    before = file_hashes(tmp_path)
    for path in (folder, file, vectors.path):
        with pytest.raises(StoreError, match="exists and is not a store"):
            FeatureStore.create(path, small_raw)
    assert file_hashes(tmp_path) == before


def test_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(StoreError, match="No store at .*sllmr import"):
            FeatureStore(path)
    with pytest.raises(StoreError, match="is not a store: it has no manifest.json"):
        FeatureStore(tmp_path)


def test_other_kind_and_other_version(stored):
    edit(stored, kind="llm_score")
    with pytest.raises(StoreError, match="should be a store. Received: a llm_score"):
        FeatureStore(stored)
    edit(stored, kind="store", schema_version=99)
    with pytest.raises(StoreError, match="schema version 99, and .* reads version 1"):
        FeatureStore(stored)


def test_damaged_manifest(stored):
    path = stored / "manifest.json"
    whole = path.read_text()
    path.write_text(whole[:200])
    with pytest.raises(StoreError, match="manifest.json is not valid JSON"):
        FeatureStore(stored)
    path.write_text("[]")
    with pytest.raises(StoreError, match="should be a store"):
        FeatureStore(stored)
    path.write_text(whole.replace('"item_content": 40', '"item_content": 41'))
    with pytest.raises(StoreError, match="should hold 41 records. Received: 40"):
        FeatureStore(stored)
    path.write_text(whole.replace('"user_history": 30', '"user_histary": 30'))
    with pytest.raises(StoreError, match="user_history should hold None records"):
        FeatureStore(stored)


def test_damaged_schema(stored):
    path = stored / "schema.pbtxt"
    whole = path.read_text()
    path.write_text(whole.replace("attributes", "attribut_s"))
    with pytest.raises(StoreError, match="does not describe the view 'item_content'"):
        FeatureStore(stored)
    path.write_text(whole[:100])
    with pytest.raises(StoreError, match="schema.pbtxt is not a valid schema"):
        FeatureStore(stored)
    path.unlink()
    with pytest.raises(StoreError, match="No schema at"):
        FeatureStore(stored)


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing", "swapped"])
def test_damaged_shard(stored, how, verify):
    path = stored / HISTORY
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[:-3])
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "missing":
        path.unlink()
    else:
        path.write_bytes((stored / ITEMS).read_bytes())
    with pytest.raises(StoreError, match="user_history") as error:
        FeatureStore(stored, verify=verify)
    assert "again" in str(error.value) or "No TFRecord" in str(error.value)


def test_only_verify_finds_another_stores_shard(stored, small_raw, tmp_path):
    interactions = small_raw.interactions[::-1]
    other = FeatureStore.create(
        tmp_path / "other", dataclasses.replace(small_raw, interactions=interactions)
    )
    (stored / HISTORY).write_bytes((other.path / HISTORY).read_bytes())
    FeatureStore(stored)
    with pytest.raises(StoreError, match="user_history.* is not what was written"):
        FeatureStore(stored, verify=True)


def test_no_flipped_bit_gets_past_verify(stored):
    """Whatever bit of whatever file: a StoreError, or a note that nobody relies on."""
    random_ = random.Random(0)
    files = sorted(path for path in stored.rglob("*") if path.is_file())
    for number in range(60):
        path = files[number % len(files)]
        whole = path.read_bytes()
        content = bytearray(whole)
        content[random_.randrange(len(content))] ^= 1 << random_.randrange(8)
        path.write_bytes(content)
        if path.name != "manifest.json":
            with pytest.raises(StoreError):
                FeatureStore(stored, verify=True)
        else:
            try:
                FeatureStore(stored, verify=True)
            except StoreError:
                pass
        path.write_bytes(whole)
    FeatureStore(stored, verify=True)


@pytest.mark.parametrize("error", [KeyError("item"), OSError(28, "No space left")])
def test_failure_half_way_leaves_the_old_store(stored, raw_of, monkeypatch, error):
    def failing(*args, **options):
        raise error

    monkeypatch.setattr(records, "write_manifest", failing)
    before = file_hashes(stored)
    expected = StoreError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected, match="item|Could not write .*: No space left"):
        FeatureStore.create(stored, raw_of([[1, 2, 3, 4]], 4))
    assert file_hashes(stored) == before and visible(stored.parent) == {"store"}
    with pytest.raises(expected):
        FeatureStore.create(stored.parent / "new", raw_of([[1, 2, 3, 4]], 4))
    assert visible(stored.parent) == {"store"}


def test_two_jobs_write_one_store(stored, raw_of, other_writer):
    before, raw = file_hashes(stored), raw_of([[1, 2, 3, 4]], 4)
    with other_writer(stored) as process:
        with pytest.raises(StoreError, match="Another process is writing .*store"):
            FeatureStore.create(stored, raw)
        assert file_hashes(stored) == before
        assert FeatureStore(stored).n_users == 30
        process.kill()
        process.wait()
        assert FeatureStore(stored, verify=True).n_users == 30
        assert FeatureStore.create(stored, raw).n_users == 1
    assert visible(stored.parent) == {"store"}


FULL_DISK = """
import json, pickle, resource, signal, sys
from pathlib import Path

import numpy as np
import pandas as pd

from keras_sllmr.errors import StoreError
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.text_vectors import TextVectors

folder = Path(sys.argv[1])
raw = pickle.loads((folder / "raw.pickle").read_bytes())
rows = pd.read_pickle(folder / "rows.pickle")
store = FeatureStore(folder / "store")
about = dict(teacher={}, settings={}, cost={})
print(json.dumps([
    FeatureStore.create(folder / "again", raw).fingerprint,
    ScoreTable.create(folder / "again2", store, rows, **about).manifest["fingerprint"],
]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in json.loads(sys.argv[2]):
    for write in (
        lambda: FeatureStore.create(folder / "store", raw),
        lambda: FeatureStore.create(folder / "new", raw),
        lambda: ScoreTable.create(folder / "scores", store, rows, **about),
        lambda: TextVectors.create(
            folder / "text", store, np.full((41, 99), 0.5), encoder="e"
        ),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            write()
            print(json.dumps("written"))
        except StoreError as error:
            print(json.dumps(str(error)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
"""


def test_full_disk_and_another_process(small_raw, score_rows, tmp_path):
    """In another process: bytes are the same, and what does not fit leaves no trace."""
    folder, stored = tmp_path, tmp_path / "store"
    wordy = small_raw.items.assign(text=small_raw.items["text"] * 9)
    raw = dataclasses.replace(small_raw, items=wordy)
    store = FeatureStore.create(stored, raw)
    about = {"teacher": {}, "settings": {}, "cost": {}}
    scores = ScoreTable.create(folder / "scores", store, score_rows, **about)
    TextVectors.create(folder / "text", store, np.ones((41, 3)), encoder="e")
    (folder / "raw.pickle").write_bytes(pickle.dumps(raw))
    score_rows.to_pickle(folder / "rows.pickle")
    kept = {name: file_hashes(folder / name) for name in ("store", "scores", "text")}
    sizes = [(stored / name).stat().st_size for name in (ITEMS, "schema.pbtxt")]
    limits = [*(size - 1 for size in sizes), 0]
    assert limits[0] > limits[1] > 0  # the shard alone, and the schema before it
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(folder), json.dumps(limits)],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    fingerprints, *answers = map(json.loads, done.stdout.splitlines())
    assert fingerprints == [store.fingerprint, scores.manifest["fingerprint"]]
    written = ["store", "new", "scores", "text"] * len(limits)
    for name, answer in zip(written, answers, strict=True):
        assert answer.startswith("Could not write"), answer
        assert f"/{name}" in answer and "File too large" in answer
        assert "Nothing was left behind; free some space" in answer
        assert "\n" not in answer
    assert kept == {name: file_hashes(folder / name) for name in kept}
    inputs = {"raw.pickle", "rows.pickle", "again", "again2"}
    assert visible(folder) == {*kept, *inputs}
