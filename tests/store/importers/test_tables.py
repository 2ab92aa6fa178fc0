import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.importers import read_tables

EVENTS = pd.DataFrame(
    {"user_id": ["v", "u", "u"], "item_id": ["a", "b", "a"], "position": [0, 1, 0]}
)
ITEMS = pd.DataFrame(
    {
        "item_id": ["b", "a"],
        "text": ["second", "first, with a comma"],
        "attributes": [[1, 2], []],
    }
)
ROWS = [("u", "a", 0), ("u", "b", 1), ("v", "a", 0)]


def rows(data):
    return list(data.interactions.itertuples(index=False, name=None))


def save(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        lists = {
            name: table[name].map(
                lambda cell: json.dumps(cell) if isinstance(cell, list) else cell
            )
            for name in table
        }
        table.assign(**lists).to_csv(path, index=False)
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".csv.gz"])
def test_a_folder_of_tables(tmp_path, suffix):
    save(EVENTS, tmp_path / f"interactions{suffix}")
    save(ITEMS, tmp_path / f"items{suffix}")
    calls = []
    data = read_tables(tmp_path, min_events=1, progress=lambda *c: calls.append(c))
    assert rows(data) == ROWS
    assert data.items.to_dict("list") == {
        "item": ["a", "b"],
        "text": ["first, with a comma", "second"],
        "attributes": [[], ["attributes=1", "attributes=2"]],
    }
    assert data.source["kind"] == "tables"
    assert [file["name"] for file in data.source["files"]] == [
        f"interactions{suffix}",
        f"items{suffix}",
    ]
    assert data.source["columns"]["order"] == "position"
    assert data.source["options"]["attributes"] == ["attributes"]
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert calls[-1] == (size, size)


def test_columns_are_mapped_by_options(tmp_path):
    events = save(
        EVENTS.set_axis(["who", "what", "when"], axis=1), tmp_path / "e.parquet"
    )
    table = pd.DataFrame(
        {
            "sku": ["a", "b", "c"],
            "title": ["A", None, "C"],
            "brand": ["x", None, ""],
            "size": [3, None, 4],
            "tags": [["t", "", None, "t"], None, []],
        }
    )
    data = read_tables(
        events,
        save(table, tmp_path / "i.parquet"),
        user="who",
        item="what",
        order="when",
        item_key="sku",
        text="title",
        attributes=("brand", "size", "tags"),
        min_events=1,
        keep_unseen_items=True,
    )
    assert rows(data) == ROWS
    assert data.items["text"].tolist() == ["A", "", "C"]
    assert data.items["attributes"].tolist() == [
        ["brand=x", "size=3", "tags=t"],
        [],
        ["size=4"],
    ]
    assert data.notes["items_without_text"] == 1


def test_a_column_may_have_two_roles(tmp_path):
    data = read_tables(
        save(EVENTS, tmp_path / "e.csv"),
        save(ITEMS, tmp_path / "i.csv"),
        attributes=["text"],
        min_events=1,
    )
    assert data.items["attributes"].tolist() == [
        ["text=first, with a comma"],
        ["text=second"],
    ]


def test_without_items(tmp_path):
    data = read_tables(save(EVENTS, tmp_path / "e.csv"), min_events=1)
    assert data.items["item"].tolist() == ["a", "b"]
    assert data.items["text"].tolist() == ["", ""]


def test_csv_ids_and_texts_stay_as_they_stand(tmp_path):
    events, items = tmp_path / "e.csv", tmp_path / "i.csv"
    events.write_text("user_id,item_id,time\n007,NA,1\n007,1e3,2\n")
    items.write_text("item_id,text\nNA,null\n1e3,[not json\n")
    data = read_tables(events, items, attributes=["text"], min_events=1)
    assert rows(data) == [("007", "NA", 1), ("007", "1e3", 2)]
    assert data.items["text"].tolist() == ["[not json", "null"]
    assert data.items["attributes"].tolist() == [["text=[not json"], ["text=null"]]


def test_parquet_integer_ids_with_gaps_keep_their_digits(tmp_path):
    steam = 2**60 + 1
    table = EVENTS.assign(user_id=pd.array([steam, None, 7], dtype="Int64"))
    path = save(table, tmp_path / "e.parquet")
    with pytest.raises(DataError, match="row 2: None, 'b', 1"):
        read_tables(path, min_events=1)
    data = read_tables(path, min_events=1, on_bad="drop")
    assert rows(data) == [(str(steam), "a", 0), ("7", "a", 0)]
    assert data.dropped["rows_without_user"] == 1


@pytest.mark.parametrize("name", ["position", "timestamp", "time"])
def test_the_order_is_found(tmp_path, name):
    path = save(EVENTS.rename(columns={"position": name}), tmp_path / "e.parquet")
    assert rows(read_tables(path, min_events=1)) == ROWS


def test_parquet_dates(tmp_path):
    days = pd.Series(pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-01"]))
    stamps = EVENTS.assign(position=days)
    dates = EVENTS.assign(position=days.dt.date)
    one = read_tables(save(stamps, tmp_path / "s.parquet"), min_events=1)
    two = read_tables(save(dates, tmp_path / "d.parquet"), min_events=1)
    assert [row[:2] for row in rows(one)] == [row[:2] for row in ROWS]
    assert rows(one) == rows(two)


def test_an_unclear_order_is_an_error(tmp_path):
    both = save(EVENTS.assign(time=[1, 2, 3]), tmp_path / "both.csv")
    with pytest.raises(DataError, match="need one of the columns"):
        read_tables(both)
    assert rows(read_tables(both, order="position", min_events=1)) == ROWS
    none = save(EVENTS.drop(columns="position"), tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"Received: \['user_id', 'item_id'\]"):
        read_tables(none)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_unknown_columns_list_what_exists(tmp_path, suffix):
    events = save(EVENTS, tmp_path / f"e{suffix}")
    items = save(ITEMS, tmp_path / f"i{suffix}")
    with pytest.raises(DataError, match=r"\['user_id', 'item_id', 'position'\]"):
        read_tables(events, items, user="uid")
    with pytest.raises(DataError, match=r"where \['brand'\] are missing"):
        read_tables(events, items, attributes=["brand"])
    with pytest.raises(DataError, match=r"where \['title'\] are missing"):
        read_tables(events, items, text="title")


def test_a_column_that_comes_twice(tmp_path):
    path = tmp_path / "e.csv"
    path.write_text("user_id,user_id,item_id,time\nu,v,a,1\n")
    with pytest.raises(DataError, match="missing or come twice"):
        read_tables(path)


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_bad_rows_are_named_as_in_the_file(tmp_path, suffix):
    table = EVENTS.assign(position=[0.0, np.nan, 0.0])
    path = save(table, tmp_path / f"e{suffix}")
    label = "row 2" if suffix == ".parquet" else "line 3"
    with pytest.raises(DataError, match=f"in `position` .{label}: 'u', 'b', "):
        read_tables(path, min_events=1)
    data = read_tables(path, min_events=1, on_bad="drop")
    assert data.dropped["rows_without_order"] == 1


def test_csv_damage(tmp_path):
    path = tmp_path / "e.csv"
    path.write_bytes(b"user_id,item_id,time\nu,a,1\nu,caf\xe9,2\nu,b\n")
    with pytest.raises(DataError, match="byte 0xe9 in line 3"):
        read_tables(path, min_events=1)
    data = read_tables(path, min_events=1, on_bad="drop")
    assert rows(data) == [("u", "a", 1)]
    assert data.dropped["undecodable_lines"] == 1
    assert data.dropped["malformed_lines"] == 1
    packed = tmp_path / "e.csv.gz"
    packed.write_bytes(gzip.compress(b"user_id,item_id,time\n" * 99)[:-9])
    with pytest.raises(DataError, match="truncated or damaged"):
        read_tables(packed)


def test_parquet_damage(tmp_path):
    path = save(EVENTS, tmp_path / "e.parquet")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="must be a whole Parquet file"):
        read_tables(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="must be a whole Parquet file"):
        read_tables(path)


def test_parquet_text_that_is_not_utf8(tmp_path):
    path = tmp_path / "e.parquet"
    values = pa.array([b"u", b"caf\xe9"], type=pa.binary())
    table = pa.table({"item_id": ["a", "b"], "time": [1, 2]})
    broken = pa.StringArray.from_buffers(2, *values.buffers()[1:])
    pq.write_table(table.append_column("user_id", broken), path)
    with pytest.raises(DataError, match="UTF-8"):
        read_tables(path)
    pq.write_table(table.append_column("user_id", values), path)
    with pytest.raises(DataError, match="unreadable `user_id`"):
        read_tables(path)


def test_nested_attributes_are_refused(tmp_path):
    events = save(EVENTS, tmp_path / "e.parquet")
    for number, cell in enumerate(([[1], [2]], {"a": 1})):
        table = ITEMS.assign(attributes=[cell, cell])
        items = save(table, tmp_path / f"i{number}.parquet")
        with pytest.raises(DataError, match="plain lists of values"):
            read_tables(events, items)


def test_other_suffixes_and_missing_files(tmp_path):
    path = tmp_path / "e.xlsx"
    path.touch()
    with pytest.raises(DataError, match=r"must end in one of.*e\.xlsx"):
        read_tables(path)
    with pytest.raises(DataError, match="No such file"):
        read_tables(tmp_path / "none.csv")
    with pytest.raises(DataError, match="must hold one file `interactions.parquet`"):
        read_tables(tmp_path)
    save(EVENTS, tmp_path / "interactions.csv")
    with pytest.raises(DataError, match="must hold one file `items.parquet`"):
        read_tables(tmp_path)


def test_options_are_checked_before_reading(tmp_path):
    with pytest.raises(ConfigError):
        read_tables(tmp_path / "none.csv", on_bad="ignore")


CONTEXT = EVENTS.assign(
    hour=[13, 7, 9], device=["web", None, "app"], tags=[["x", "y"], [], ["x"]]
)
GOODS = ITEMS.assign(price=[2.5, None], brand=["acme", None], colours=[["red"], None])
PEOPLE = pd.DataFrame(
    {"user_id": ["u", "w"], "age": [31, 40], "sex": ["F", "M"], "likes": [["go"], []]}
)
KINDS = {
    "user_columns": {"age": "numeric", "sex": "categorical", "likes": "multi"},
    "item_columns": {"price": "numeric", "brand": "categorical", "colours": "multi"},
    "context_columns": {"tags": "multi", "hour": "numeric", "device": "categorical"},
}


def save_all(folder, suffix):
    tables = {"interactions": CONTEXT, "items": GOODS, "users": PEOPLE}
    for name, table in tables.items():
        path = folder / f"{name}{suffix}"
        if suffix.startswith(".jsonl"):
            packed = "gzip" if suffix.endswith(".gz") else None
            table.to_json(path, orient="records", lines=True, compression=packed)
        else:
            save(table, path)
    return folder


@pytest.mark.parametrize(
    "suffix", [".parquet", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz"]
)
def test_columns_of_every_entity_and_kind(tmp_path, suffix):
    data = read_tables(save_all(tmp_path, suffix), min_events=1, min_count=2, **KINDS)
    assert rows(data) == [
        ("u", "a", 0, ("x",), 9, "app"),
        ("u", "b", 1, (), 7, ""),
        ("v", "a", 0, ("x", "y"), 13, "web"),
    ]
    assert data.items["attributes"].tolist() == [[], ["attributes=1", "attributes=2"]]
    assert data.items["brand"].tolist() == ["", "acme"]
    assert data.items["colours"].tolist() == [(), ("red",)]
    np.testing.assert_array_equal(data.items["price"], [np.nan, 2.5])
    assert data.users.values.tolist() == [["u", 31, "F", ("go",)]]
    assert data.notes["users_without_a_row_in_the_user_table"] == 1
    assert [spec.name for spec in data.columns] == [
        name for kinds in KINDS.values() for name in kinds
    ]
    assert {spec.min_count for spec in data.columns} == {2}
    assert data.source["options"]["min_count"] == 2
    assert [file["name"] for file in data.source["files"]] == [
        f"{name}{suffix}" for name in ("interactions", "items", "users")
    ]


def test_a_folders_users_are_read_for_user_columns_alone(tmp_path):
    data = read_tables(save_all(tmp_path, ".csv"), min_events=1)
    assert data.users is None and data.columns == ()
    assert len(data.source["files"]) == 2
    assert not {"min_count", "user_key"} & {
        *data.source["options"],
        *data.source["columns"],
    }


def test_users_in_a_file_of_another_name(tmp_path):
    path = save(CONTEXT, tmp_path / "e.csv")
    users = save(PEOPLE.rename(columns={"user_id": "uid"}), tmp_path / "p.parquet")
    options = {"users": users, "user_columns": {"age": "numeric"}, "min_events": 1}
    data = read_tables(path, user_key="uid", **options)
    assert data.users.values.tolist() == [["u", 31]]
    with pytest.raises(DataError, match=r"where \['user_id'\] are missing"):
        read_tables(path, **options)
    with pytest.raises(ConfigError, match="needs `user_columns`.*p.parquet' alone"):
        read_tables(path, users=users)


def test_a_column_may_also_be_the_order(tmp_path):
    path = save(CONTEXT, tmp_path / "e.csv")
    data = read_tables(
        path, order="hour", context_columns={"hour": "numeric"}, min_events=1
    )
    assert data.interactions["hour"].tolist() == data.interactions["order"].tolist()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"context_columns": {"day": "numeric"}}, DataError, r"\['day'\] are missing"),
        ({"user_columns": {"job": "numeric"}}, DataError, r"\['job'\] are missing"),
        ({"item_columns": {"size": "multi"}}, DataError, r"\['size'\] are missing"),
        ({"user_columns": {"age": "number"}}, ConfigError, "kind of the column 'age'"),
        ({"user_columns": ["age"]}, ConfigError, "map each name to its kind"),
        ({"context_columns": {"order": "numeric"}}, ConfigError, "Rename the column"),
        ({"min_count": 0, "item_columns": {"price": "numeric"}}, ConfigError, "min_co"),
        ({"context_columns": {"device": "numeric"}}, DataError, "line 2: 'v', .*'web'"),
        ({"user_columns": {"sex": "numeric"}}, DataError, "numeric column `sex` must"),
    ],
)
def test_wrong_columns(tmp_path, options, error, said):
    with pytest.raises(error, match=said):
        read_tables(save_all(tmp_path, ".csv"), min_events=1, **options)


def test_columns_of_tables_that_are_not_there(tmp_path):
    path = save(CONTEXT, tmp_path / "interactions.csv")
    with pytest.raises(DataError, match="Columns of items need a table of items"):
        read_tables(path, item_columns={"price": "numeric"})
    with pytest.raises(DataError, match="Columns of users need a table of users"):
        read_tables(path, user_columns={"age": "numeric"})
    save(ITEMS, tmp_path / "items.csv")
    with pytest.raises(DataError, match="must hold one file `users.parquet`"):
        read_tables(tmp_path, user_columns={"age": "numeric"})


def test_json_lines(tmp_path):
    path = tmp_path / "e.jsonl"
    lines = [
        {"user_id": 2**60 + 1, "item_id": "a", "time": 1},
        {"user_id": 7, "item_id": "b", "time": 2, "place": "home"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "broken\n")
    places = {"place": "categorical"}
    with pytest.raises(DataError, match="must hold a JSON object.*line 3"):
        read_tables(path, min_events=1)
    data = read_tables(path, min_events=1, on_bad="drop", context_columns=places)
    assert rows(data) == [(str(2**60 + 1), "a", 1, ""), ("7", "b", 2, "home")]
    path.write_text(json.dumps(lines[0] | {"item_id": None}) + "\n")
    with pytest.raises(DataError, match=f"line 1: {2**60 + 1}, None, 1"):
        read_tables(path, min_events=1)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "users", "items", "interactions"),
    [("beauty", 22_363, 12_101, 198_502), ("sports", 35_598, 18_357, 296_337)],
)
def test_the_papers_data(name, users, items, interactions):
    folder = os.environ.get("SLLMR_DATA")
    if folder is None:
        pytest.skip("SLLMR_DATA does not name the folder of the paper's data")
    data = read_tables(Path(folder) / "amazon2014" / name)
    assert data.interactions["user"].nunique() == users
    assert len(data.items) == items
    assert len(data.interactions) == interactions
    assert set(data.dropped.values()) == {0}
    if name == "beauty":
        assert data.notes["items_without_text"] == 1
        assert sum(not labels for labels in data.items["attributes"]) == 13
