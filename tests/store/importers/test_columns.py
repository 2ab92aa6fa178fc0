import numpy as np
import pandas as pd

from keras_sllmr.store.clean import clean
from keras_sllmr.store.importers._columns import (
    EventColumns,
    ItemColumns,
    labels,
    texts,
)


def test_events_keep_ids_orders_and_lines():
    events = EventColumns()
    events.add(2, "u", 7, "10")
    events.add(5, None, "", None)
    events.add(6, "u", "7", [])
    table = events.table()
    assert table.index.tolist() == [2, 5, 6]
    assert table.index.name == "line"
    assert table["user"].astype(object).tolist()[::2] == ["u", "u"]
    assert table["item"].astype(object).tolist()[::2] == ["7", "7"]
    assert table[["user", "item"]].isna().to_numpy().tolist()[1] == [True, True]
    np.testing.assert_array_equal(table["order"], [10.0, np.nan, np.nan])


def test_no_events_make_an_empty_table():
    assert list(EventColumns().table()) == ["user", "item", "order"]
    assert ItemColumns().table().empty


def test_ids_that_are_not_unicode_reach_clean():
    events, items = EventColumns(), ItemColumns()
    events.add(1, "u", "a", 1)
    events.add(2, "\udce9", "a", 1)
    items.add(1, "a", "half \ud83d", [])
    items.add(2, "\udce9", "", [])
    data = clean(
        events.table(), items.table(), on_bad="drop", min_events=1, source={"kind": "t"}
    )
    assert data.dropped["rows_without_user"] == 1
    assert data.dropped["items_without_id"] == 1
    assert data.items["text"].tolist() == ["half ?"]


def test_items_table():
    items = ItemColumns()
    items.add(3, "a", "text", ["x=1"])
    expected = pd.DataFrame(
        {"item": ["a"], "text": ["text"], "attributes": [["x=1"]]},
        index=pd.Index([3], name="line"),
        dtype=object,
    )
    pd.testing.assert_frame_equal(items.table(), expected)


def test_texts_flatten_unescape_and_tidy():
    assert texts(None) == []
    assert texts("  a \n b ") == ["a b"]
    assert texts([["Health &amp; Care", "x"], ("x", None), 3, ""]) == [
        "Health & Care",
        "x",
        "3",
    ]


def test_labels():
    assert labels("genre", ["a", "a", "b"]) == ["genre=a", "genre=b"]
    assert labels("genre", None) == []
