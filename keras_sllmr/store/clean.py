"""Cleaning: interactions and items checked against the rules the store relies on."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.clean_columns import (
    clean_users,
    require_people,
    with_columns,
)
from keras_sllmr.store.columns import ENTITIES, ColumnSpec, check_unique
from keras_sllmr.store.raw import RawData
from keras_sllmr.store.sieve import Sieve, chosen
from keras_sllmr.store.values import ids, labels_of, orders, text_of

OnBad = Literal["raise", "drop"]


def clean(
    interactions: pd.DataFrame,
    items: pd.DataFrame | None,
    *,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    users: pd.DataFrame | None = None,
    columns: Sequence[ColumnSpec] = (),
    source: Mapping[str, Any],
    dropped: Mapping[str, int] | None = None,
    notes: Mapping[str, int] | None = None,
) -> RawData:
    """Checks interactions and items against the rules the store relies on.

    Every interaction needs a user, an item of the item table and a finite number or
    date as its order; no (user, item, order) and no item id may come twice. A row
    that breaks a rule is an error, or is dropped and counted with `on_bad="drop"`.
    By policy, and always counted: of a user's repeated events with one item only the
    first stays, since ranking is about items the user has not seen, and users with
    fewer than `min_events` events are left out. The result does not depend on the
    order of the rows. Cleaning what is clean changes nothing.

    Cells of further columns may be empty. One that its kind cannot hold makes its row
    a bad one, of an item table too. Users without a row in `users` have empty cells
    and are counted in the notes; rows of one user must agree.

    Args:
        interactions: DataFrame with the columns `user`, `item`, `order`; its index
            labels are the row (or line, if so named) numbers that errors show.
            Dates, and numbers with fractions, become whole microseconds.
        items: DataFrame with the column `item` and, optionally, `text` and
            `attributes`, or None to take the items that were interacted with.
        on_bad: "raise" or "drop". Defaults to "raise".
        min_events: the fewest events a user needs. Defaults to 5.
        keep_unseen_items: whether items without interactions stay in the catalogue.
            Defaults to False.
        users: DataFrame with the column `user` and the user columns. Defaults to
            None, for when there are none.
        columns: which columns of the three tables to keep beyond those above.
            Defaults to none.
        source: recorded in the result, with the options of this function added. Its
            "columns" may map `user`, `item`, `order`, `item_key`, `user_key` to the
            names that errors call them by.
        dropped: counts of the reader to start from.
        notes: counts of the reader to start from.

    Returns:
        The `RawData`.

    Raises:
        ConfigError: an option is out of its range, or a column's name comes twice.
        DataError: a table or column is missing, a rule is broken, or nobody is left.

    Example:
        >>> events = pd.DataFrame(
        ...     {"user": ["u", "u", "u"], "item": ["b", "a", "b"], "order": [3, 1, 5]}
        ... )
        >>> data = clean(events, None, min_events=2, source={"kind": "example"})
        >>> data.interactions["item"].tolist(), data.dropped["repeated_items"]
        (['a', 'b'], 1)
    """
    check_policy(on_bad, min_events)
    names = {
        "user": "user",
        "item": "item",
        "order": "order",
        "item_key": "item",
        "user_key": "user",
        **source.get("columns", {}),
    }
    check_unique(columns)
    of = {entity: [c for c in columns if c.entity == entity] for entity in ENTITIES}
    _require_table(items, of["item"], "items")
    _require_table(users, of["user"], "users")
    sieve = Sieve(on_bad, dict(dropped or {}))
    noted = dict(notes or {})

    catalogue = None if items is None else clean_items(items, sieve, names, of["item"])
    known = None if catalogue is None else set(catalogue["item"])
    histories = clean_events(
        interactions, known, sieve, names, min_events, of["context"]
    )
    histories.require_any(min_events, sieve.dropped)
    events = histories.events
    people = None
    if users is not None and of["user"]:
        people = clean_users(users, set(events["user"]), sieve, names, of["user"])
        require_people(len(people), len(users), users["user"], names)
        without = events["user"].nunique() - len(people)
        noted["users_without_a_row_in_the_user_table"] = without
    if catalogue is None:
        catalogue = pd.DataFrame({"item": sorted(events["item"].unique()), "text": ""})
        catalogue["attributes"] = [[] for _ in range(len(catalogue))]

    seen = catalogue["item"].isin(events["item"].unique())
    noted["items_without_interactions"] = int((~seen).sum())
    if not keep_unseen_items:
        catalogue = catalogue[seen].reset_index(drop=True)
    noted["items_without_text"] = int((catalogue["text"] == "").sum())

    options = {
        **source.get("options", {}),
        "on_bad": on_bad,
        "min_events": min_events,
        "keep_unseen_items": keep_unseen_items,
    }
    recorded = {**source, "options": options}
    return RawData(
        events, catalogue, recorded, sieve.dropped, noted, people, tuple(columns)
    )


def check_policy(on_bad: str, min_events: int) -> None:
    """Raises `ConfigError` unless both options of `clean` are in their range."""
    if on_bad not in ("raise", "drop"):
        raise ConfigError(
            f'`on_bad` must be "raise" or "drop". Received: on_bad={on_bad!r}'
        )
    if min_events < 1:
        raise ConfigError(
            f"`min_events` must be at least 1. Received: min_events={min_events}"
        )


def _require_table(
    table: pd.DataFrame | None, columns: Sequence[ColumnSpec], what: str
) -> None:
    if table is None and columns:
        raise DataError(
            f"Columns of {what} need a table of {what}. Received: "
            f"{[column.name for column in columns]} without one"
        )


@dataclass(frozen=True)
class Histories:
    """Clean events of some users, all events of each.

    Args:
        events: as `RawData.interactions`; maybe none.
        users: int. How many users there were before the short ones left.
        longest: int. Events of the user with the most.
    """

    events: pd.DataFrame
    users: int
    longest: int

    def require_any(self, min_events: int, dropped: Mapping[str, int]) -> None:
        """Raises `DataError` when nobody is left."""
        if self.events.empty:
            require_users(0, self.users, self.longest, min_events, dropped)


def require_users(
    left: int, users: int, longest: int, min_events: int, dropped: Mapping[str, int]
) -> None:
    """Raises `DataError` when nobody is left."""
    if not left:
        raise DataError(
            f"At least one user needs min_events={min_events} events. Received: "
            f"{users} users, the longest history holding "
            f"{longest} events after {dict(dropped)} were dropped. "
            "Check that the file is the right one, or lower --min-events."
        )


def clean_events(
    given: pd.DataFrame,
    known: Container[str] | None,
    sieve: Sieve,
    names: Mapping[str, str],
    min_events: int,
    columns: Sequence[ColumnSpec],
) -> Histories:
    """The interactions of any set of users by the rules of `clean`, users apart.

    Args:
        given: all their interactions, in any order.
        known: ids of the items there are. None for any.
        sieve: raises or counts what breaks a rule.
        names: what errors call the roles' columns.
        min_events: the fewest events a user needs.
        columns: the context's.

    Raises:
        DataError: a column is missing, or a rule is broken.
    """
    given = chosen(given, ["user", "item", "order"], columns, "interactions")
    user, user_ids = ids(given["user"], names["user"])
    item, item_ids = ids(given["item"], names["item"])
    order, usable = orders(given["order"])
    # Sorted ids make codes that sort as the ids do, at the price of integers.
    table = pd.DataFrame({"user": user, "item": item, "order": order})
    table["usable"] = usable
    for role in ("user", "item"):
        table = sieve.keep(
            table,
            table[role] < 0,
            f"rows_without_{role}",
            f"Every interaction needs the id of its {role}.",
            f"with a null, empty or unreadable `{names[role]}`",
            given,
        )
    table = sieve.keep(
        table,
        ~table["usable"],
        "rows_without_order",
        "Every interaction needs a number as its order.",
        f"with NaN, infinity or no number in `{names['order']}`",
        given,
    ).drop(columns="usable")
    table = with_columns(table, columns, sieve, given)
    key = ["user", "item", "order"]
    unique = sieve.keep(
        table,
        table.duplicated(key),
        "duplicate_rows",
        f"No (`{names['user']}`, `{names['item']}`, `{names['order']}`) may come twice.",
        "that repeat an earlier one",
        given,
    )
    if columns and len(unique) < len(table):
        # Which of the twins stays must not depend on the order of the rows.
        cells = map(repr, table[table.columns[3:]].itertuples(index=False, name=None))
        unique = table.iloc[_ranked(cells)].drop_duplicates(key)
    table = unique
    if known is not None:
        in_table = np.array([name in known for name in item_ids], dtype=bool)
        table = sieve.keep(
            table,
            pd.Series(~in_table[table["item"]], index=table.index),
            "rows_of_unknown_items",
            "Every interaction must be with an item of the item table.",
            f"whose `{names['item']}` is in no item table",
            given,
        )

    table = table.sort_values(["user", "order", "item"])
    repeated = table.duplicated(["user", "item"])
    sieve.count("repeated_items", int(repeated.sum()))
    table = table[~repeated]
    lengths = np.bincount(table["user"], minlength=len(user_ids))
    table = table[lengths[table["user"]] >= min_events]
    sieve.count("users_with_too_few_events", int((lengths < min_events).sum()))
    events = pd.DataFrame(
        {
            "user": np.array(user_ids, dtype=object)[table["user"]],
            "item": np.array(item_ids, dtype=object)[table["item"]],
            "order": table["order"].to_numpy(np.int64),
            **{column.name: table[column.name].to_numpy() for column in columns},
        }
    )
    return Histories(events, len(user_ids), int(lengths.max(initial=0)))


def clean_items(
    given: pd.DataFrame,
    sieve: Sieve,
    names: Mapping[str, str],
    columns: Sequence[ColumnSpec],
) -> pd.DataFrame:
    """Any items of the item table by the rules of `clean`, sorted by id.

    Args:
        given: all rows of these items, in any order.
        sieve: raises or counts what breaks a rule.
        names: what errors call the roles' columns.
        columns: the items'.

    Raises:
        DataError: a column is missing, or a rule is broken.
    """
    optional = [name for name in ("text", "attributes") if name in given]
    given = chosen(given, ["item", *optional], columns, "items")
    item, item_ids = ids(given["item"], names["item_key"])
    table = pd.DataFrame({"item": item})
    nothing = [None] * len(given)
    table["text"] = [text_of(value) for value in given.get("text", nothing)]
    table["attributes"] = [
        labels_of(value) for value in given.get("attributes", nothing)
    ]
    table = sieve.keep(
        table,
        table["item"] < 0,
        "items_without_id",
        "Every item of the item table needs an id.",
        f"with a null, empty or unreadable `{names['item_key']}`",
        given,
    )
    table = with_columns(table, columns, sieve, given)
    unique = sieve.keep(
        table,
        table.duplicated("item"),
        "duplicate_items",
        f"Every `{names['item_key']}` may come once in the item table.",
        "that repeat an earlier id",
        given,
    )
    if len(unique) < len(table):
        # Here too; and one with a text is better than one without.
        twins = table.itertuples(index=False, name=None)
        content = (
            (text == "", text, "\n".join(labels), repr(cells))
            for _, text, labels, *cells in twins
        )
        unique = table.iloc[_ranked(content)].drop_duplicates("item")
    table = unique.sort_values("item").reset_index(drop=True)
    return table.assign(item=np.array(item_ids, dtype=object)[table["item"]]).astype(
        {"item": "str", "text": "str"}
    )


def _ranked(rows: Iterable[Any]) -> list[int]:
    """The places of rows in the order of their content."""
    content = list(rows)
    return sorted(range(len(content)), key=content.__getitem__)
