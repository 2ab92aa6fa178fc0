import json
import shutil

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.tfrecord import example, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.schema import write_schema
from keras_sllmr.store.score_table import NEGATIVE, POSITIVE, UNKNOWN, ScoreTable

ABOUT = {
    "teacher": {"name": "tfidf", "model": "m", "prompt": "sha"},
    "settings": {"history": 10},
    "cost": {"usd": 0.5},
}
COLUMNS = ["user", "item", "score", "origin", "position", "label"]
ROWS = [
    (3, 40, 0.25, "tail", 2, UNKNOWN),
    (1, 8, 1.0, "probe", 0, POSITIVE),
    (3, 1, 0.0, "probe", 5, NEGATIVE),
    (30, 2, 0.5, "поп", 1, UNKNOWN),
]


def frame(*rows, **columns):
    table = pd.DataFrame(list(rows), columns=COLUMNS)
    return table.assign(**columns) if columns else table


def create(path, store, rows, **options):
    return ScoreTable.create(path, store, rows, **ABOUT, **options)


def shards(table):
    return {
        path.name: path.read_bytes() for path in table.path.glob("views/*/*.tfrecord")
    }


@pytest.fixture(scope="module")
def table(small_store, tmp_path_factory):
    return create(
        tmp_path_factory.mktemp("tables") / "scores", small_store, frame(*ROWS)
    )


@pytest.fixture(scope="module")
def full(small_store, score_rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / "full"
    return create(path, small_store, score_rows)


def test_round_trip(table):
    assert len(table) == 4
    assert table.users.tolist() == [1, 3, 3, 30]
    assert table.items.tolist() == [8, 1, 40, 2]
    assert table.scores.tolist() == [1.0, 0.0, 0.25, 0.5]
    assert table.origins.tolist() == ["probe", "probe", "tail", "поп"]
    assert table.positions.tolist() == [0, 5, 2, 1]
    assert table.labels.tolist() == [POSITIVE, NEGATIVE, UNKNOWN, UNKNOWN]
    assert table.spread.tolist() == [0.0] * 4 and table.answers.tolist() == [1] * 4
    assert table.coverage == 4 / (30 * 40)
    assert table.scores.dtype == table.spread.dtype == np.float32
    kinds = {a.dtype for a in (table.positions, table.labels, table.answers)}
    assert kinds == {np.dtype(np.int64)}


def test_what_stands_behind_a_score(table, small_store, tmp_path):
    rows = frame(*ROWS, spread=[0.25, 0, 0.5, 0.125], answers=[3, 1, 2, 0])
    full = create(tmp_path / "scores", small_store, rows)
    assert full.answers.tolist() == [1, 2, 3, 0]
    assert full.spread.tolist() == [0.0, 0.5, 0.25, 0.125]
    assert full.scores.tolist() == table.scores.tolist()
    assert full.manifest["fingerprint"] != table.manifest["fingerprint"]
    plain = frame(*ROWS, spread=0.0, answers=1)
    assert shards(create(tmp_path / "plain", small_store, plain)) == shards(table)


def test_an_older_table(table, small_store, tmp_path):
    old = shutil.copytree(table.path, tmp_path / "scores")
    manifest = json.loads((old / "manifest.json").read_text())
    (old / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}))
    with pytest.raises(
        StoreError, match="has schema version 1, .*reads version 2. Make"
    ):
        ScoreTable(old, small_store)


def test_manifest(table, small_store):
    manifest = table.manifest
    assert manifest["kind"] == "llm_score"
    assert manifest["parent"] == {"store": small_store.fingerprint}
    assert manifest["counts"] == {"llm_score": 4, "missing": 0}
    assert {name: manifest[name] for name in ABOUT} == ABOUT


def test_every_value_comes_back(full, score_rows):
    expected = score_rows.sort_values(["user", "item"])
    found = pd.DataFrame(
        {
            "user": full.users,
            "item": full.items,
            "score": full.scores,
            "origin": full.origins,
            "position": full.positions,
            "label": full.labels,
        }
    )
    for name in COLUMNS:
        kind = np.float32 if name == "score" else expected[name].dtype
        assert found[name].tolist() == expected[name].astype(kind).tolist()


def test_order_of_the_rows_does_not_matter(full, small_store, score_rows, tmp_path):
    for seed, rows in enumerate((score_rows[::-1], score_rows.sort_values("score"))):
        again = create(tmp_path / str(seed), small_store, rows)
        assert shards(again) == shards(full)
        assert again.manifest["fingerprint"] == full.manifest["fingerprint"]


def test_shards_do_not_change_the_table(full, small_store, score_rows, tmp_path):
    sharded = create(tmp_path / "scores", small_store, score_rows, shard_size=500)
    assert len(shards(sharded)) == 3 and len(shards(full)) == 1
    np.testing.assert_array_equal(sharded.users, full.users)
    np.testing.assert_array_equal(sharded.scores, full.scores)


def test_missing_scores_are_counted_and_left_out(small_store, tmp_path):
    rows = frame(*ROWS, (2, 2, np.nan, "tail", 0, UNKNOWN))
    # A pair may be missing once and scored once: it has one score.
    rows = pd.concat([rows, frame((1, 8, np.nan, "tail", 0, UNKNOWN))])
    table = create(tmp_path / "scores", small_store, rows)
    assert len(table) == 4
    assert table.manifest["counts"] == {"llm_score": 4, "missing": 2}
    assert table.lookup(np.array([2]), np.array([2]))[1].tolist() == [False]


def test_lookup(table):
    users = np.array([3, 3, 1, 30, 2, 0])
    items = np.array([1, 40, 8, 1, 8, 0])
    scores, found = table.lookup(users, items)
    assert found.tolist() == [True, True, True, False, False, False]
    assert scores.tolist() == [0.0, 0.25, 1.0, 0.0, 0.0, 0.0]
    assert scores.dtype == np.float32 and found.dtype == bool


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 2), (2, 1, 2), (0, 3)])
def test_lookup_keeps_the_shape(table, shape):
    scores, found = table.lookup(np.full(shape, 3), np.full(shape, 40))
    assert scores.shape == found.shape == shape
    assert found.all() and (scores == 0.25).all()


def test_lookup_broadcasts(table):
    scores, found = table.lookup(np.array([[1], [3]]), np.array([8, 1, 40]))
    assert found.tolist() == [[True, False, False], [False, True, True]]
    assert scores.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.25]]


def test_lookup_beyond_the_catalogue_is_a_miss(table):
    # 41 items and the padding after user 2 is, as a key, item 1 of user 3.
    users, items = np.array([2, 4, 99, -1]), np.array([42, -1, 1, 1])
    scores, found = table.lookup(users, items)
    assert not found.any() and not scores.any()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 32), st.integers(-3, 44)), min_size=1),
)
def test_lookup_is_a_left_join(table, pairs):
    known = {(user, item): score for user, item, score, *_ in ROWS}
    scores, found = table.lookup(*np.array(pairs).T)
    assert found.tolist() == [pair in known for pair in pairs]
    assert scores.tolist() == [known.get(pair, 0.0) for pair in pairs]


def test_lookup_of_every_pair(full, score_rows):
    scores, found = full.lookup(score_rows["user"], score_rows["item"])
    assert found.all()
    np.testing.assert_array_equal(scores, score_rows["score"].astype(np.float32))


def test_empty_table(small_store, tmp_path):
    for number, rows in enumerate((frame(), frame((1, 1, np.nan, "tail", 0, 0)))):
        table = create(tmp_path / str(number), small_store, rows)
        assert len(table) == 0 and table.coverage == 0
        assert table.manifest["counts"] == {"llm_score": 0, "missing": number}
        scores, found = table.lookup(np.ones((2, 3), int), np.ones((2, 3), int))
        assert not found.any() and scores.tolist() == [[0.0] * 3] * 2


def test_types_of_the_columns_do_not_matter(table, small_store, tmp_path):
    rows = frame(*ROWS[1:3])
    one = create(tmp_path / "one", small_store, rows)
    kinds = {"user": "int32", "item": float, "score": int, "position": float}
    two = create(tmp_path / "two", small_store, rows.astype(kinds))
    three = create(tmp_path / "three", small_store, rows.astype(object))
    assert shards(one) == shards(two) == shards(three)


def test_origins_are_text(small_store, tmp_path):
    rows = frame(*((1, n, 0.5, o, 0, 0) for n, o in enumerate(["a", 7, None], 1)))
    table = create(tmp_path / "scores", small_store, rows)
    assert table.origins.tolist() == ["a", "7", "None"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": 1.01}, r"in \[0, 1\]. Received: 1.01 in 1 rows"),
        ({"score": -0.5}, r"in \[0, 1\]. Received: -0.5 in 1 rows"),
        ({"score": np.inf}, r"in \[0, 1\]. Received: inf in 1 rows"),
        ({"user": 0}, "`user` of a score .* from 1 to 30. Received: 0 in 1 rows"),
        ({"user": -1}, "`user` of a score .* from 1 to 30. Received: -1 in 1 rows"),
        ({"user": 31}, "`user` of a score .* from 1 to 30. Received: 31 in 1 rows"),
        ({"item": 0}, "`item` of a score .* from 1 to 40. Received: 0 in 1 rows"),
        ({"item": 41}, "`item` of a score .* from 1 to 40. Received: 41 in 1 rows"),
        ({"item": 1.5}, "`item` of a score must be a whole number.*Received: 1.5"),
        ({"position": np.nan}, "`position` of a score.*Received: nan in 1 rows"),
        ({"position": -1}, "`position` of a score.*Received: -1 in 1 rows"),
        ({"position": 7}, "`position`.* at most the number of .*events. Received: 7"),
        ({"position": 13}, "`position` of a score .* from 0 to 12. Received: 13"),
        ({"label": 2}, "`label` of a score .* from -1 to 1. Received: 2 in 1 rows"),
        ({"spread": -0.1}, "`spread` of a score .*from 0. Received: -0.1 in 1 rows"),
        ({"spread": np.nan}, "`spread` of a score must be a finite .*Received: nan"),
        ({"spread": np.inf}, "`spread` of a score must be a finite .*Received: inf"),
        ({"answers": -1}, "`answers` of a score .* from 0 to .*Received: -1 in 1 rows"),
        ({"answers": 0.5}, "`answers` of a score must be a whole .*Received: 0.5"),
    ],
)
def test_values_out_of_range(small_store, tmp_path, changes, message):
    path = tmp_path / "scores"
    create(path, small_store, frame(*ROWS))
    row = {"user": 1, "item": 1, "score": 0.5, "origin": "tail", "position": 6}
    row |= {"label": 0, "spread": 0.0, "answers": 1}
    good = frame(*ROWS, spread=0.0, answers=1)
    create(path, small_store, pd.concat([good, pd.DataFrame([row])]))
    bad = pd.concat([good, pd.DataFrame([row | changes])])
    with pytest.raises(DataError, match=message):
        create(path, small_store, bad)
    assert len(ScoreTable(path, small_store)) == 5


def test_duplicates(small_store, tmp_path):
    rows = frame(*ROWS, (3, 40, 0.5, "uniform", 1, UNKNOWN))
    with pytest.raises(DataError, match=r"one score a \(user, item\). Received: 1 dup"):
        create(tmp_path / "scores", small_store, rows)
    assert [path.name for path in tmp_path.iterdir()] == [".scores.lock"]


def test_lacking_columns(small_store, tmp_path):
    with pytest.raises(DataError, match=r"without \['origin', 'label'\]"):
        create(
            tmp_path / "scores",
            small_store,
            frame(*ROWS).drop(columns=["label", "origin"]),
        )


def test_another_stores_table(table, raw_of, tmp_path):
    other = FeatureStore.create(tmp_path / "store", raw_of([[1, 2, 3, 4]], 4))
    with pytest.raises(StoreError, match="made for the store .*Score it again"):
        ScoreTable(table.path, other)


def handmade(path, store, pairs):
    """A table with ids that `create` would not write."""
    create(path, store, frame())
    rest = {"score": 0.5, "origin": "tail", "position": 0, "label": -1}
    rest |= {"spread": 0.0, "answers": 1}
    records = [example(user_id=u, item_id=i, **rest) for u, i in pairs]
    write_schema(path / "schema.pbtxt")
    write_shards(path / "views" / "llm_score", records, count=len(records))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["counts"]["llm_score"] = len(records)
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_records_are_keyed_by_id_and_may_come_in_any_order(small_store, tmp_path):
    pairs = [("u02", "i01"), ("u01", "i40"), ("u01", "i03")]
    table = ScoreTable(handmade(tmp_path / "scores", small_store, pairs), small_store)
    assert table.users.tolist() == [1, 1, 2] and table.items.tolist() == [3, 40, 1]
    assert table.lookup(np.array([2, 2]), np.array([1, 3]))[1].tolist() == [True, False]


@pytest.mark.parametrize(
    ("pair", "unknown"),
    [(("u99", "i01"), "u99"), (("u01", "?"), "?"), (("", "i01"), "")],
)
def test_unknown_ids(small_store, tmp_path, pair, unknown):
    path = handmade(tmp_path / "scores", small_store, [("u01", "i02"), pair])
    with pytest.raises(StoreError, match="names '.*', which the store does not") as e:
        len(ScoreTable(path, small_store))
    assert repr(unknown) in str(e.value)


def test_odd_ids(odd_store, tmp_path):
    count = odd_store.n_items
    numbers = np.arange(1, count + 1)
    rows = frame(*((n, count + 1 - n, n / 100, f"ö{n}", 0, 0) for n in numbers))
    table = create(tmp_path / "таблица", odd_store, rows[::-1])
    assert table.users.tolist() == numbers.tolist()
    assert table.items.tolist() == numbers[::-1].tolist()
    assert table.origins.tolist() == [f"ö{n}" for n in numbers]


def test_bad_folder(small_store, table, tmp_path):
    with pytest.raises(StoreError, match="has no manifest.json"):
        ScoreTable(tmp_path / "nowhere", small_store)
    with pytest.raises(StoreError, match="should be a llm_score. Received: a store"):
        ScoreTable(small_store.path, small_store)
    before = sorted(small_store.path.rglob("*"))
    with pytest.raises(StoreError, match="exists and is not a llm score"):
        create(small_store.path, small_store, frame(*ROWS))
    assert sorted(small_store.path.rglob("*")) == before


def test_damaged_shard(small_store, tmp_path):
    path = create(tmp_path / "scores", small_store, frame(*ROWS)).path
    (shard,) = path.glob("views/llm_score/*")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        len(ScoreTable(path, small_store))
    shard.write_bytes(b"")
    with pytest.raises(StoreError, match="should hold 4 records. Received: 0"):
        len(ScoreTable(path, small_store))


def test_two_jobs_write_one_table(small_store, tmp_path, other_writer):
    path = create(tmp_path / "scores", small_store, frame(*ROWS)).path
    with other_writer(path):
        with pytest.raises(StoreError, match="Another process is writing .*scores"):
            create(path, small_store, frame(*ROWS[:1]))
        assert len(ScoreTable(path, small_store)) == 4
    assert len(create(path, small_store, frame(*ROWS[:1]))) == 1
