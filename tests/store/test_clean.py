import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.clean import clean
from keras_sllmr.store.raw import RawData

SOURCE = {
    "kind": "test",
    "options": {"seed": 1},
    "columns": {"order": "position", "user": "user_id"},
}


def events(*rows):
    return pd.DataFrame(rows, columns=["user", "item", "order"], dtype=object)


def catalogue(*ids):
    return pd.DataFrame({"item": list(ids), "text": [f"text of {i}" for i in ids]})


def run(interactions, items=None, *, min_events=1, **options):
    return clean(interactions, items, min_events=min_events, source=SOURCE, **options)


def rows(data: RawData):
    return list(data.interactions.itertuples(index=False, name=None))


def assert_same(one: RawData, two: RawData):
    pd.testing.assert_frame_equal(one.interactions, two.interactions)
    pd.testing.assert_frame_equal(one.items, two.items)
    assert one.source == two.source
    assert one.dropped == two.dropped
    assert one.notes == two.notes


def test_sorts_users_events_and_items():
    data = run(
        events(("v", "b", 2), ("u", "c", 9), ("u", "b", 3), ("u", "a", 3)),
        catalogue("c", "b", "a"),
    )
    assert rows(data) == [("u", "a", 3), ("u", "b", 3), ("u", "c", 9), ("v", "b", 2)]
    assert data.items.to_dict("list") == {
        "item": ["a", "b", "c"],
        "text": ["text of a", "text of b", "text of c"],
        "attributes": [[], [], []],
    }
    assert data.interactions["order"].dtype == np.int64
    assert set(data.dropped.values()) == {0}


def test_records_source_and_options():
    data = run(events(("u", "a", 1)), on_bad="drop", keep_unseen_items=True)
    assert data.source["kind"] == "test"
    assert data.source["options"] == {
        "seed": 1,
        "on_bad": "drop",
        "min_events": 1,
        "keep_unseen_items": True,
    }


def test_counts_start_from_the_readers():
    data = run(
        events(("u", "a", 1), ("u", "a", 2)),
        dropped={"malformed_lines": 2, "repeated_items": 1},
        notes={"below": 3},
    )
    assert data.dropped["malformed_lines"] == 2
    assert data.dropped["repeated_items"] == 2
    assert data.notes["below"] == 3


GOOD = [("u", "a", 1), ("u", "b", 2)]
BAD_ROWS = [
    ((None, "a", 3), "rows_without_user", "the id of its user"),
    (("", "a", 3), "rows_without_user", "`user_id`"),
    ((" ", "a", 3), "rows_without_user", "null, empty"),
    ((math.nan, "a", 3), "rows_without_user", "null, empty"),
    (("\udce9", "a", 3), "rows_without_user", "unreadable"),
    ((b"\xe9", "a", 3), "rows_without_user", "unreadable"),
    (("u", None, 3), "rows_without_item", "the id of its item"),
    (("u", math.inf, 3), "rows_without_item", "the id of its item"),
    (("u", "c", math.nan), "rows_without_order", "`position`"),
    (("u", "c", None), "rows_without_order", "NaN"),
    (("u", "c", math.inf), "rows_without_order", "infinity"),
    (("u", "c", -math.inf), "rows_without_order", "infinity"),
    (("u", "c", "noon"), "rows_without_order", "'noon'"),
    (("u", "c", ""), "rows_without_order", "no number"),
    (("u", "c", 2.0**63), "rows_without_order", "no number"),
    (("u", "a", 1), "duplicate_rows", "may come twice"),
    (("u", "z", 3), "rows_of_unknown_items", "in no item table"),
]


@pytest.mark.parametrize(("bad", "kind", "message"), BAD_ROWS)
def test_bad_row_is_an_error_or_a_counted_drop(bad, kind, message):
    items = catalogue("a", "b", "c")
    table = events(*GOOD, bad)
    with pytest.raises(DataError, match="Received: 1 row ") as caught:
        run(table, items)
    assert message in str(caught.value)
    assert "row 2: " in str(caught.value)
    assert "--on-bad drop" in str(caught.value)

    data = run(table, items, on_bad="drop")
    assert rows(data) == GOOD
    assert {name: n for name, n in data.dropped.items() if n} == {kind: 1}


def test_error_shows_three_rows_by_their_labels():
    table = events(*[("u", f"i{n}", math.nan) for n in range(5)])
    table.index = pd.Index([3, 17, 20, 21, 22], name="line")
    with pytest.raises(DataError) as caught:
        run(table)
    assert "Received: 5 rows with NaN" in str(caught.value)
    assert "(line 3: 'u', 'i0', nan; line 17: " in str(caught.value)
    assert "line 21" not in str(caught.value)


def test_a_row_is_counted_for_the_first_rule_it_breaks():
    data = run(events(*GOOD, (None, None, math.nan)), on_bad="drop")
    assert data.dropped["rows_without_user"] == 1
    assert data.dropped["rows_without_item"] == 0
    assert data.dropped["rows_without_order"] == 0


def test_keeps_the_first_of_repeated_items():
    data = run(events(("u", "a", 5), ("u", "b", 3), ("u", "a", 1), ("u", "a", 9)))
    assert rows(data) == [("u", "a", 1), ("u", "b", 3)]
    assert data.dropped["repeated_items"] == 2


def test_repeats_do_not_help_to_reach_min_events():
    table = events(("u", "a", 1), ("u", "a", 2), ("v", "a", 1), ("v", "b", 2))
    data = run(table, min_events=2)
    assert data.interactions["user"].unique().tolist() == ["v"]
    assert data.dropped["users_with_too_few_events"] == 1


def test_users_who_lose_all_their_events_are_counted():
    data = run(events(*GOOD, ("w", "a", None)), on_bad="drop")
    assert data.dropped["users_with_too_few_events"] == 1


@pytest.mark.parametrize("table", [events(), events(*GOOD)])
def test_nobody_left_is_an_error(table):
    with pytest.raises(DataError, match="needs min_events=5 events"):
        run(table, min_events=5)


@pytest.mark.parametrize("bad", [None, math.nan, ""])
def test_items_need_an_id(bad):
    items = pd.DataFrame({"item": ["a", "b", bad]}, dtype=object)
    with pytest.raises(DataError, match="Every item of the item table needs an id"):
        run(events(*GOOD), items)
    data = run(events(*GOOD), items, on_bad="drop")
    assert data.dropped["items_without_id"] == 1
    assert data.items["item"].tolist() == ["a", "b"]


def test_duplicate_items_keep_the_one_with_a_text():
    items = pd.DataFrame(
        {"item": ["b", "a", "a", "a"], "text": ["x", "", "zoo", "yak"]}
    )
    with pytest.raises(DataError, match="Received: 2 rows that repeat an earlier id"):
        run(events(*GOOD), items)
    data = run(events(*GOOD), items, on_bad="drop")
    assert data.dropped["duplicate_items"] == 2
    assert data.items["text"].tolist() == ["yak", "x"]


def test_missing_texts_are_noted_not_refused():
    items = pd.DataFrame(
        {
            "item": ["a", "b", "c", "d", "e"],
            "text": [None, math.nan, "", " fine\udce9 ", 7],
        }
    )
    table = events(*[("u", item, n) for n, item in enumerate("abcde")])
    data = run(table, items)
    assert data.items["text"].tolist() == ["", "", "", "fine?", "7"]
    assert data.notes["items_without_text"] == 3


def test_attributes_become_lists_of_distinct_strings():
    lists = [None, math.nan, np.array([1, 2, 1]), ["x", None, ""], "alone"]
    items = pd.DataFrame({"item": list("abcde"), "attributes": lists})
    table = events(*[("u", item, n) for n, item in enumerate("abcde")])
    assert run(table, items).items["attributes"].tolist() == [
        [],
        [],
        ["1", "2"],
        ["x"],
        ["alone"],
    ]


def test_unseen_items_stay_only_when_asked_for():
    items = catalogue("a", "b", "c")
    data = run(events(*GOOD), items)
    assert data.items["item"].tolist() == ["a", "b"]
    assert data.notes["items_without_interactions"] == 1
    kept = run(events(*GOOD), items, keep_unseen_items=True)
    assert kept.items["item"].tolist() == ["a", "b", "c"]
    assert kept.notes["items_without_interactions"] == 1


def test_items_of_left_out_users_are_unseen():
    table = events(*GOOD, ("v", "c", 1))
    data = run(table, catalogue("a", "b", "c"), min_events=2)
    assert data.items["item"].tolist() == ["a", "b"]


def test_without_a_table_the_catalogue_is_what_was_seen():
    data = run(events(*GOOD))
    assert data.items["item"].tolist() == ["a", "b"]
    assert data.notes == {"items_without_interactions": 0, "items_without_text": 2}


def test_numeric_ids_become_the_same_text():
    table = pd.DataFrame({"user": [1.0, 1.0], "item": [10, 20], "order": [1, 2]})
    items = pd.DataFrame({"item": ["10", "20"]})
    assert rows(run(table, items)) == [("1", "10", 1), ("1", "20", 2)]


def test_long_integers_keep_their_digits():
    large = 2**60 + 1
    table = events(("u", large, large), ("u", "b", None), ("u", "c", str(large + 1)))
    data = run(table, on_bad="drop")
    assert rows(data) == [("u", str(large), large), ("u", "c", large + 1)]


def test_fractions_and_dates_become_microseconds():
    data = run(events(("u", "a", 1.5), ("u", "b", "1.25"), ("u", "c", 2)))
    assert rows(data) == [
        ("u", "b", 1_250_000),
        ("u", "a", 1_500_000),
        ("u", "c", 2_000_000),
    ]
    table = events(*GOOD)
    table["order"] = pd.to_datetime(["1970-01-02", "1970-01-01"], utc=True)
    day = 24 * 3600 * 1_000_000
    assert rows(run(table)) == [("u", "b", 0), ("u", "a", day)]
    table["order"] = pd.to_datetime([None, "1970-01-01"])
    with pytest.raises(DataError, match="NaT"):
        run(table)


def test_a_fraction_too_large_for_microseconds_is_no_order():
    table = events(("u", "a", 1.5), ("u", "b", 2.0**61))
    assert run(table, on_bad="drop").dropped["rows_without_order"] == 1


def test_nested_values_are_refused():
    table = events(*GOOD)
    with pytest.raises(DataError, match="`user_id` must hold one id a row"):
        run(table.assign(user=[["u"], ["v"]]))
    with pytest.raises(DataError, match="2 rows with NaN, infinity or no number"):
        run(table.assign(order=[[1], [2]]))


def test_missing_columns_are_named():
    with pytest.raises(DataError, match=r"without \['order'\]"):
        run(pd.DataFrame({"user": ["u"], "item": ["a"]}))
    with pytest.raises(DataError, match="The items need"):
        run(events(*GOOD), pd.DataFrame({"id": ["a"]}))


def test_options_are_checked():
    with pytest.raises(ConfigError, match="Received: on_bad='ignore'"):
        run(events(*GOOD), on_bad="ignore")
    with pytest.raises(ConfigError, match="Received: min_events=0"):
        run(events(*GOOD), min_events=0)


def test_input_is_left_as_it_was():
    table, items = events(*GOOD, ("u", "a", 9)), catalogue("a", "b")
    before = table.copy(), items.copy()
    run(table, items)
    pd.testing.assert_frame_equal(table, before[0])
    pd.testing.assert_frame_equal(items, before[1])


EVENT = st.tuples(
    st.sampled_from(["u1", "u2", "u10", "", None]),
    st.sampled_from(["a", "b", "c", "z", None]),
    st.sampled_from([0, 1, 2, 2.5, math.nan, "x"]),
)
ITEM = st.tuples(
    st.sampled_from(["a", "b", "c", None]),
    st.sampled_from(["", "one", "two", None]),
    st.sampled_from([["x"], ["y"], []]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENT, max_size=20), st.lists(ITEM, max_size=6), st.randoms())
def test_result_does_not_depend_on_the_order_of_rows(listed, goods, random):
    listed = [("u0", "a", 0), *listed]
    goods = [("a", "first", []), *goods]
    shuffled_events, shuffled_items = listed[:], goods[:]
    random.shuffle(shuffled_events)
    random.shuffle(shuffled_items)
    columns = ["item", "text", "attributes"]
    one = run(events(*listed), pd.DataFrame(goods, columns=columns), on_bad="drop")
    two = run(
        events(*shuffled_events),
        pd.DataFrame(shuffled_items, columns=columns),
        on_bad="drop",
    )
    assert_same(one, two)


@settings(max_examples=40, deadline=None)
@given(st.lists(EVENT, max_size=20))
def test_cleaning_twice_changes_nothing(listed):
    once = run(events(("u0", "a", 0), *listed), on_bad="drop")
    twice = run(once.interactions, once.items)
    pd.testing.assert_frame_equal(once.interactions, twice.interactions)
    pd.testing.assert_frame_equal(once.items, twice.items)
    assert set(twice.dropped.values()) == {0}
