import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.clean import clean
from keras_sllmr.store.columns import ColumnSpec, column_specs

COLUMNS = column_specs(
    {"gender": "categorical", "hobbies": "multi", "age": "numeric"},
    {"brand": "categorical", "colours": "multi", "price": "numeric"},
    {"device": "categorical", "tags": "multi", "hour": "numeric"},
)
EVENTS = [
    ("v", "b", 2, "web", ["x", "y"], 13.5),
    ("u", "c", 9, None, [], None),
    ("u", "a", 3, "app", "x", "7"),
]
ITEMS = [("c", "", None, None), ("a", "acme", ["red", "red"], 9), ("b", 5.0, "red", "")]
USERS = [("u", "F", ["chess", None], 31), ("w", "M", [], 50)]


def of(entity):
    return [spec.name for spec in COLUMNS if spec.entity == entity]


def events(rows=EVENTS):
    names = ["user", "item", "order", *of("context")]
    return pd.DataFrame(rows, columns=names, dtype=object)


def items(rows=ITEMS):
    return pd.DataFrame(rows, columns=["item", *of("item")], dtype=object)


def users(rows=USERS):
    return pd.DataFrame(rows, columns=["user", *of("user")], dtype=object)


def run(interactions=None, catalogue=None, people=None, **options):
    return clean(
        events() if interactions is None else interactions,
        items() if catalogue is None else catalogue,
        users=users() if people is None else people,
        columns=COLUMNS,
        min_events=1,
        source={"kind": "test", "columns": {"user_key": "uid"}},
        **options,
    )


def assert_same_tables(one, two):
    for name in ("interactions", "items", "users"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))


def assert_same(one, two):
    assert_same_tables(one, two)
    assert (one.columns, one.dropped, one.notes) == (
        two.columns,
        two.dropped,
        two.notes,
    )


def test_cells_follow_their_rows():
    data = run()
    assert data.columns == COLUMNS
    rows = data.interactions.drop(columns="hour").values.tolist()
    assert rows == [
        ["u", "a", 3, "app", ("x",)],
        ["u", "c", 9, "", ()],
        ["v", "b", 2, "web", ("x", "y")],
    ]
    np.testing.assert_array_equal(data.interactions["hour"], [7, np.nan, 13.5])
    assert data.items["brand"].tolist() == ["acme", "5", ""]
    assert data.items["colours"].tolist() == [("red",), ("red",), ()]
    np.testing.assert_array_equal(data.items["price"], [9, np.nan, np.nan])
    assert data.users.values.tolist() == [["u", "F", ("chess",), 31]]
    for table, name in (("interactions", "hour"), ("items", "price"), ("users", "age")):
        assert getattr(data, table)[name].dtype == np.float32
    assert data.notes["users_without_a_row_in_the_user_table"] == 1
    assert set(data.dropped.values()) == {0}


def test_without_columns_the_tables_are_as_ever():
    data = clean(events(), items(), min_events=1, source={"kind": "test"})
    assert list(data.interactions) == ["user", "item", "order"]
    assert list(data.items) == ["item", "text", "attributes"]
    assert data.users is None and data.columns == ()
    assert not [name for name in {**data.dropped, **data.notes} if "user_" in name]


def test_cleaning_what_is_clean_changes_nothing():
    once = run()
    again = run(once.interactions, once.items, once.users)
    assert_same(once, again)


BAD = [
    (("u", "b", 4, ["web"], [], 1), "device", "one value or be empty"),
    (("u", "b", 4, "web", [["x"]], 1), "tags", "a plain list of them, or be empty"),
    (("u", "b", 4, "web", [], "noon"), "hour", "numeric column `hour` must hold a fin"),
    (("u", "b", 4, "web", [], math.inf), "hour", "something else in `hour`"),
]


@pytest.mark.parametrize(("bad", "name", "message"), BAD)
def test_a_bad_context_cell_is_an_error_or_a_counted_drop(bad, name, message):
    table = events([*EVENTS, bad])
    with pytest.raises(
        DataError, match="Received: 1 row .*row 3: 'u', 'b', 4"
    ) as caught:
        run(table)
    assert message in str(caught.value) and "--on-bad drop" in str(caught.value)
    data = run(table, on_bad="drop")
    assert {kind: n for kind, n in data.dropped.items() if n} == {
        f"rows_with_bad_{name}": 1
    }
    assert len(data.interactions) == 3


def test_a_bad_cell_of_an_item_or_a_user_drops_its_row():
    catalogue = items([*ITEMS[:2], ("b", "x", [], "dear")])
    with pytest.raises(DataError, match="`price` .row 2: 'b', 'x', .., 'dear'"):
        run(catalogue=catalogue)
    data = run(catalogue=catalogue, on_bad="drop")
    assert data.dropped["rows_with_bad_price"] == 1
    assert data.dropped["rows_of_unknown_items"] == 1

    people = users([*USERS, ("v", "F", {}, 3)])
    with pytest.raises(DataError, match="`hobbies` .row 2: 'v'"):
        run(people=people)
    data = run(people=people, on_bad="drop")
    assert data.dropped["rows_with_bad_hobbies"] == 1
    assert data.users["user"].tolist() == ["u"]


def test_users_that_come_twice_must_agree():
    again = ("u", " F", ("chess",), "31.0")
    assert run(people=users([*USERS, again])).users["user"].tolist() == ["u"]
    people = users([*USERS, ("v", "M", [], None), ("u", "M", ["chess"], 31)])
    with pytest.raises(DataError, match="same `uid` must agree.*2 rows .*row 0: 'u'"):
        run(people=people)
    data = run(people=people, on_bad="drop")
    assert data.users["user"].tolist() == ["v"]
    assert data.dropped["contradictory_user_rows"] == 2


def test_users_without_id_and_users_that_nobody_knows():
    people = users([*USERS, (None, "F", [], 1)])
    with pytest.raises(DataError, match="user table needs the id.*unreadable `uid`"):
        run(people=people)
    assert run(people=people, on_bad="drop").dropped["user_rows_without_id"] == 1
    with pytest.raises(DataError, match="none of them in 1 rows, whose `uid` .* 'w'"):
        run(people=users(USERS[1:]))


def test_missing_tables_and_columns():
    source = {"kind": "test"}
    age, price = (spec for spec in COLUMNS if spec.name in ("age", "price"))
    with pytest.raises(DataError, match=r"Columns of users need a table.*\['age'\]"):
        clean(events(), items(), columns=[age], source=source)
    with pytest.raises(DataError, match="Columns of items need a table of items"):
        clean(events(), None, columns=[price], source=source)
    with pytest.raises(DataError, match=r"interactions need the columns.*\['hour'\]"):
        run(events().drop(columns="hour"))
    with pytest.raises(DataError, match=r"users need the columns.*without \['age'\]"):
        run(people=users().drop(columns="age"))
    twice = [ColumnSpec("hour", "context", "numeric")] * 2
    with pytest.raises(ConfigError, match="hour more than once"):
        clean(events(), None, columns=twice, source=source)


CELLS = {
    "device": st.sampled_from(["web", "app", "", None, 3, ["bad"]]),
    "tags": st.sampled_from([[], ["x"], ["y", "x"], "z", None, [[]]]),
    "hour": st.sampled_from([1, 2.5, "3", None, "bad"]),
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from("uvw"),
        st.sampled_from("ab"),
        st.integers(0, 2),
        *CELLS.values(),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=25, deadline=None)
@given(rows=ROWS, order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, order):
    good = [("u", "a", 9, "web", [], 0), ("v", "b", 9, "web", [], 0)]
    rows = good + rows
    shuffled = order.sample(rows, len(rows))
    people = [("u", "F", [], 1), ("u", "M", [], 1), ("v", "M", [], 2)]
    one = run(events(rows), people=users(people), on_bad="drop")
    two = run(events(shuffled), people=users(people[::-1]), on_bad="drop")
    assert_same(one, two)
    assert_same_tables(one, run(one.interactions, one.items, one.users))


def test_which_of_the_twin_items_stays_does_not_depend_on_the_order():
    twins = [*ITEMS, ("a", "acme", ["red"], 3), ("a", "zed", [], 1)]
    one = run(catalogue=items(twins), on_bad="drop")
    two = run(catalogue=items(twins[::-1]), on_bad="drop")
    assert_same(one, two)
    assert one.dropped["duplicate_items"] == 2
