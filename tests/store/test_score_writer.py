import itertools
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import tf
from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.score_writer import write_score_table

ABOUT = {"teacher": {"name": "t"}, "settings": {"a": 1}, "cost": {"usd": 0.5}}


def rows_of(users, items=40, **columns):
    """Scores of the users for their first items, latest first."""
    user, item = np.meshgrid(users, np.arange(items, 0, -1), indexing="ij")
    number = np.arange(user.size)
    table = {
        "user": user.ravel(),
        "item": item.ravel(),
        "score": number % 7 / 7,
        "origin": "tail",
        "position": 1,
        "label": -1,
        "spread": number % 3 / 8,
        "answers": number % 4,
    }
    return pd.DataFrame({**table, **columns})


def files(path):
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*.tfrecord")
    }


@pytest.fixture(scope="module")
def whole(small_store, tmp_path_factory):
    path = tmp_path_factory.mktemp("writer") / "whole"
    rows = rows_of(np.arange(1, 31))
    return ScoreTable.create(path, small_store, rows, **ABOUT, shard_size=500)


@settings(deadline=None, max_examples=10)
@given(st.sets(st.integers(1, 29)))
def test_frames_do_not_change_the_table(whole, small_store, tmp_path_factory, cuts):
    path = tmp_path_factory.mktemp("writer") / "frames"
    rows = rows_of(np.arange(1, 31))
    edges = [0, *sorted(cuts), 30]
    frames = (
        rows[(rows["user"] > low) & (rows["user"] <= high)].sample(frac=1)
        for low, high in itertools.pairwise(edges)
    )
    write_score_table(path, small_store, frames, **ABOUT, shard_size=500)
    assert files(path) == files(whole.path)
    again = ScoreTable(path, small_store)
    assert again.manifest["fingerprint"] == whole.manifest["fingerprint"]
    assert again.manifest["counts"] == {"llm_score": 1200, "missing": 0}


def test_all_shards_but_the_last_are_full(whole):
    paths = sorted(whole.path.glob("views/llm_score/*"))
    assert [path.name for path in paths] == [
        f"part-0000{n}-of-00003.tfrecord" for n in range(3)
    ]
    sizes = [sum(1 for _ in tf.data.TFRecordDataset([str(path)])) for path in paths]
    assert sizes == [500, 500, 200]


def test_cost_and_reasons_are_asked_for_at_the_end(small_store, tmp_path):
    told = {"usd": 0.0, "timeout": 0}

    def frames():
        for user in range(1, 4):
            told["usd"] += 0.25
            told["timeout"] += 1
            score = [np.nan, 0.5]
            yield rows_of([user], items=2, score=score)

    about = ABOUT | {"cost": lambda: {"usd": told["usd"]}}
    path = tmp_path / "scores"
    write_score_table(
        path,
        small_store,
        frames(),
        **about,
        missing=lambda: {"timeout": told["timeout"]},
    )
    manifest = ScoreTable(path, small_store).manifest
    assert manifest["cost"] == {"usd": 0.75}
    assert manifest["counts"] == {"llm_score": 3, "missing": 3}
    assert manifest["missing"] == {"timeout": 3}


def test_reasons_as_they_are(whole, small_store, tmp_path):
    assert "missing" not in whole.manifest
    path = tmp_path / "scores"
    write_score_table(path, small_store, [], **ABOUT, missing={"refused": 0})
    table = ScoreTable(path, small_store)
    assert len(table) == 0 and table.manifest["missing"] == {"refused": 0}


@pytest.mark.parametrize(
    ("users", "message"),
    [
        ([[2, 3], [1]], "user 1 after user 3"),
        ([[1, 4], [5], [4]], "user 4 after user 5"),
        ([[1, 2], [2, 3]], "user 2 after user 2"),
    ],
)
def test_frames_out_of_order(small_store, tmp_path, users, message):
    frames = (rows_of(few, items=2) for few in users)
    with pytest.raises(DataError, match=f"by ascending users.*Received: {message}"):
        write_score_table(tmp_path / "scores", small_store, frames, **ABOUT)
    assert not (tmp_path / "scores").exists()


def test_frames_without_scores_are_in_no_order(small_store, tmp_path):
    frames = [rows_of([5]), rows_of([2], score=np.nan), rows_of([])]
    write_score_table(tmp_path / "scores", small_store, frames, **ABOUT)
    counts = ScoreTable(tmp_path / "scores", small_store).manifest["counts"]
    assert counts == {"llm_score": 40, "missing": 40}


@pytest.mark.parametrize("error", [DataError("bad"), StoreError("gone"), KeyError("k")])
def test_a_failing_frame_leaves_the_older_table(small_store, tmp_path, error):
    path = tmp_path / "scores"
    write_score_table(path, small_store, [rows_of([1])], **ABOUT)
    before = files(path)

    def frames():
        yield rows_of([1, 2])
        raise error

    with pytest.raises(type(error)):
        write_score_table(path, small_store, frames(), **ABOUT)
    assert files(path) == before
    assert len(list(tmp_path.iterdir())) == 2  # the table and its lock


def test_memory_is_that_of_a_frame(small_store, tmp_path, monkeypatch):
    """Not of the table: a tenfold job takes no more."""
    monkeypatch.setattr(type(small_store), "n_items", 1000)
    monkeypatch.setattr(small_store, "item_ids", np.array(["i"] * 1001))

    def peak(users):
        tracemalloc.start()
        frames = (rows_of([user], items=1000) for user in range(1, users + 1))
        write_score_table(tmp_path / "scores", small_store, frames, **ABOUT)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak(1)  # whatever is made once
    assert peak(30) < 1.5 * peak(3)
