import json

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.io.hashing import file_hashes
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.store import build_stages
from keras_sllmr.store.build import build_store
from keras_sllmr.store.columns import column_specs
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.importers import read_tables
from keras_sllmr.store.importers.table_format import TableFormat

KINDS = {
    "user_columns": {"age": "numeric", "hobbies": "multi"},
    "item_columns": {"brand": "categorical", "price": "numeric"},
    "context_columns": {"device": "categorical", "tags": "multi", "hour": "numeric"},
}
COLUMNS = column_specs(*KINDS.values(), min_count=2)


def tables(users=23, items=17, seed=0):
    """Tables with some of everything: repeats, short histories, unseen items, gaps."""
    draw = np.random.default_rng(seed)
    who = draw.integers(0, users, 12 * users)
    what = draw.integers(0, items, len(who))
    events = pd.DataFrame(
        {
            "user_id": [f"u{n}" for n in who],
            "item_id": [f"i{n}" for n in what],
            "timestamp": draw.permutation(len(who)),
            "device": [["web", "app", None][n] for n in draw.integers(0, 3, len(who))],
            "tags": [["x", "y"][: n % 3] for n in draw.integers(0, 3, len(who))],
            "hour": draw.integers(0, 24, len(who)).astype(float),
        }
    )
    short = pd.DataFrame(
        {"user_id": ["w", "w"], "item_id": ["i1", "i2"], "timestamp": [1, 2]}
    )
    events = pd.concat([events, short], ignore_index=True)
    catalogue = pd.DataFrame({"item_id": [f"i{n}" for n in range(items + 3)]})
    catalogue["text"] = [None if n == 4 else f"item {n}" for n in range(items + 3)]
    catalogue["attributes"] = [[n % 4, n % 3][: n % 3] for n in range(items + 3)]
    catalogue["brand"] = [f"b{n % 6}" for n in range(items + 3)]
    catalogue["price"] = [np.nan if n % 5 == 0 else n / 2 for n in range(items + 3)]
    people = pd.DataFrame({"user_id": [f"u{n}" for n in range(0, users + 5, 2)]})
    people["age"] = np.arange(len(people)) + 20.0
    people["hobbies"] = [["go", "tea"][: n % 3] for n in range(len(people))]
    return events, catalogue, people


@pytest.fixture
def sources(tmp_path):
    """Parquet tables, the interactions in row groups of 40."""
    paths = {}
    for name, table in zip(("interactions", "items", "users"), tables(), strict=True):
        paths[name] = tmp_path / f"{name}.parquet"
        table.to_parquet(paths[name], row_group_size=40)
    return paths


def content(folder):
    """A store's files and what its manifest says, but for the time."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["created"]
    return file_hashes(folder, skip="manifest.json"), manifest


@pytest.mark.parametrize(
    "rows_per_part, keep", [(10**6, False), (60, True), (9, False)]
)
def test_byte_for_byte_what_create_writes(sources, tmp_path, rows_per_part, keep):
    FeatureStore.create(
        tmp_path / "whole",
        read_tables(
            sources["interactions"],
            sources["items"],
            users=sources["users"],
            **KINDS,
            min_count=2,
            keep_unseen_items=keep,
        ),
    )
    build_store(
        tmp_path / "built",
        *sources.values(),
        form=TableFormat(columns=COLUMNS),
        keep_unseen_items=keep,
        rows_per_part=rows_per_part,
    )
    assert content(tmp_path / "built") == content(tmp_path / "whole")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_without_an_item_table_and_of_text_files(tmp_path, suffix):
    events = tables()[0][["user_id", "item_id", "timestamp"]]
    path = tmp_path / f"events{suffix}"
    if suffix == ".csv":
        events.to_csv(path, index=False)
    else:
        events.to_json(path, orient="records", lines=True)
    FeatureStore.create(tmp_path / "whole", read_tables(path))
    build_store(tmp_path / "built", path, rows_per_part=50)
    assert content(tmp_path / "built") == content(tmp_path / "whole")


def test_a_table_in_several_files_is_the_same_store(sources, tmp_path):
    events = pd.read_parquet(sources["interactions"])
    folder = tmp_path / "events"
    folder.mkdir()
    for part, rows in enumerate(np.array_split(np.arange(len(events)), 3)):
        events.iloc[rows].to_parquet(folder / f"part-{part}.parquet")
    (folder / "_SUCCESS").touch()
    for name, given in (("one", sources["interactions"]), ("many", folder)):
        build_store(tmp_path / name, given, sources["items"], rows_per_part=60)
    one, many = (FeatureStore(tmp_path / name) for name in ("one", "many"))
    assert one.fingerprint == many.fingerprint
    files = [file["name"] for file in many.manifest["parent"]["files"]]
    assert files[:3] == ["part-0.parquet", "part-1.parquet", "part-2.parquet"]


@pytest.mark.parametrize("users", [1, 250])
def test_shards_of_the_same_size(tmp_path, monkeypatch, users):
    from keras_sllmr.io import tfrecord

    monkeypatch.setattr(tfrecord.shard_rows, "__defaults__", (17,))
    monkeypatch.setitem(tfrecord.write_shards.__kwdefaults__, "shard_size", 17)
    rows = [
        (f"u{u:03d}", f"i{(u + k) % 40:02d}", k) for u in range(users) for k in range(5)
    ]
    events = pd.DataFrame(rows, columns=["user_id", "item_id", "position"])
    events.to_parquet(tmp_path / "events.parquet")
    FeatureStore.create(tmp_path / "whole", read_tables(tmp_path / "events.parquet"))
    build_store(tmp_path / "built", tmp_path / "events.parquet", rows_per_part=100)
    assert content(tmp_path / "built") == content(tmp_path / "whole")


BAD = [
    ({"user_id": None}, "rows_without_user", "id of its user"),
    ({"item_id": ""}, "rows_without_item", "id of its item"),
    ({"timestamp": np.inf}, "rows_without_order", "a number as its order"),
    ({"item_id": "elsewhere"}, "rows_of_unknown_items", "an item of the item table"),
]


@pytest.mark.parametrize("change, kind, rule", BAD)
def test_bad_rows(sources, tmp_path, change, kind, rule):
    events = pd.read_parquet(sources["interactions"]).astype({"timestamp": float})
    for name, value in change.items():
        events.loc[[3, 200], name] = value
    events.to_parquet(sources["interactions"], row_group_size=40)
    given = sources["interactions"], sources["items"]
    with pytest.raises(DataError, match=rule) as raised:
        build_store(tmp_path / "built", *given, rows_per_part=50)
    assert "row 4: " in str(raised.value) or "row 201: " in str(raised.value)
    assert not (tmp_path / "built").exists()
    build_store(tmp_path / "built", *given, on_bad="drop", rows_per_part=50)
    raw = read_tables(*given, on_bad="drop")
    built = FeatureStore(tmp_path / "built")
    assert built.manifest["dropped"] == raw.dropped and raw.dropped[kind] == 2
    assert built.fingerprint == FeatureStore.create(tmp_path / "whole", raw).fingerprint


def test_errors_name_the_file_when_there_are_several(sources, tmp_path):
    events = pd.read_parquet(sources["interactions"])
    folder = tmp_path / "events"
    folder.mkdir()
    for part in range(2):
        some = events.iloc[part::2].reset_index(drop=True)
        if part:
            some.loc[5, "user_id"] = None
        some.to_parquet(folder / f"part-{part}.parquet")
    with pytest.raises(DataError, match=r"row \('part-1.parquet', 6\)"):
        build_store(tmp_path / "built", folder, sources["items"])


def test_nobody_left(sources, tmp_path):
    with pytest.raises(DataError, match="min_events=500 events.*24 users"):
        build_store(
            tmp_path / "built",
            sources["interactions"],
            sources["items"],
            min_events=500,
            rows_per_part=50,
        )


def test_a_user_table_of_others(sources, tmp_path):
    people = tables()[2].assign(user_id=lambda table: "x" + table["user_id"])
    people.to_parquet(sources["users"])
    with pytest.raises(DataError, match="none of them in 14 rows, whose `user_id`"):
        build_store(
            tmp_path / "built", *sources.values(), form=TableFormat(columns=COLUMNS)
        )


def test_contradicting_rows_of_users_without_events_are_found_too(sources, tmp_path):
    people = pd.concat([tables()[2], tables()[2].tail(1).assign(age=99.0)])
    people.to_parquet(sources["users"])
    with pytest.raises(DataError, match="must agree"):
        build_store(
            tmp_path / "built",
            *sources.values(),
            form=TableFormat(columns=COLUMNS),
            rows_per_part=50,
        )


def test_wrong_arguments(sources, tmp_path):
    given = tmp_path / "built", sources["interactions"]
    for changes, error, rule in (
        ({"rows_per_part": 0}, ConfigError, "rows_per_part"),
        ({"min_events": 0}, ConfigError, "min_events"),
        ({"on_bad": "keep"}, ConfigError, "on_bad"),
        ({"users": sources["users"]}, ConfigError, "needs user columns"),
        ({"form": TableFormat(order="when")}, DataError, "when"),
        ({"items": tmp_path / "none.parquet"}, DataError, "none.parquet"),
    ):
        with pytest.raises(error, match=rule):
            build_store(*given, **changes)
    with pytest.raises(DataError, match="a file at least"):
        build_store(tmp_path / "built", [])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(StoreError, match="is not replaced"):
        build_store(tmp_path / "other", sources["interactions"])


def test_a_failure_half_way_leaves_the_old_store(sources, tmp_path, monkeypatch):
    given = tmp_path / "built", sources["interactions"], sources["items"]
    build_store(*given)
    before = content(tmp_path / "built")

    def full(path, records):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build_stages, "write_shard", full)
    with pytest.raises(StoreError, match="No space left"):
        build_store(*given, min_events=3)
    assert content(tmp_path / "built") == before
    left = {path.name for path in tmp_path.iterdir()} - {".built.lock"}
    assert left == {"built", *(path.name for path in sources.values())}


def test_tells_its_stages(sources, tmp_path):
    told = []
    build_store(
        tmp_path / "built",
        sources["interactions"],
        runner=InProcess(tmp_path, told=told.append),
    )
    assert told == ["sample", "items", "users", "items with events", "views"]
