"""Cleaning: interactions and items checked against the rules the store relies on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.raw import RawData
from keras_sllmr.store.values import ids, labels_of, orders, shown, text_of

OnBad = Literal["raise", "drop"]

_EXAMPLES = 3


def clean(
    interactions: pd.DataFrame,
    items: pd.DataFrame | None,
    *,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
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
        source: recorded in the result, with the options of this function added. Its
            "columns" may map `user`, `item`, `order`, `item_key` to the names that
            errors call them by.
        dropped: counts of the reader to start from.
        notes: counts of the reader to start from.

    Returns:
        The `RawData`.

    Raises:
        ConfigError: an option is out of its range.
        DataError: a rule is broken, or nobody is left.

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
        **source.get("columns", {}),
    }
    _require(interactions, ["user", "item", "order"], "interactions")
    sieve = _Sieve(on_bad, dict(dropped or {}))
    noted = dict(notes or {})

    catalogue = None if items is None else _catalogue(items, sieve, names)
    known = None if catalogue is None else set(catalogue["item"])
    events = _events(interactions, known, sieve, names, min_events)
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
    return RawData(events, catalogue, recorded, sieve.dropped, noted)


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


@dataclass
class _Sieve:
    """Applies a rule to a table: raises, or drops the rows that break it and counts."""

    on_bad: str
    dropped: dict[str, int]

    def keep(
        self,
        table: pd.DataFrame,
        bad: pd.Series,
        kind: str,
        rule: str,
        found: str,
        given: pd.DataFrame,
    ) -> pd.DataFrame:
        """Returns the rows of `table` that are not `bad`; its index points at `given`."""
        count = int(bad.sum())
        self.dropped[kind] = self.dropped.get(kind, 0) + count
        if not count:
            return table
        if self.on_bad == "raise":
            label = given.index.name or "row"
            examples = "; ".join(
                f"{label} {given.index[place]}: "
                + ", ".join(shown(value) for value in given.iloc[place])
                for place in table.index[bad][:_EXAMPLES]
            )
            raise DataError(
                f"{rule} Received: {count} {'row' if count == 1 else 'rows'} {found} "
                f"({examples}). Fix them, or drop them with --on-bad drop "
                '(in Python: on_bad="drop").'
            )
        return table[~bad]


def _events(
    given: pd.DataFrame,
    known: set[str] | None,
    sieve: _Sieve,
    names: Mapping[str, str],
    min_events: int,
) -> pd.DataFrame:
    given = given[["user", "item", "order"]]
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
    table = sieve.keep(
        table,
        table.duplicated(),
        "duplicate_rows",
        f"No (`{names['user']}`, `{names['item']}`, `{names['order']}`) may come twice.",
        "that repeat an earlier one",
        given,
    )
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
    _count(sieve.dropped, "repeated_items", int(repeated.sum()))
    table = table[~repeated]
    lengths = np.bincount(table["user"], minlength=len(user_ids))
    table = table[lengths[table["user"]] >= min_events]
    _count(
        sieve.dropped, "users_with_too_few_events", int((lengths < min_events).sum())
    )
    if table.empty:
        raise DataError(
            f"At least one user needs min_events={min_events} events. Received: "
            f"{len(user_ids)} users, the longest history holding "
            f"{lengths.max(initial=0)} events after {dict(sieve.dropped)} were dropped. "
            "Check that the file is the right one, or lower --min-events."
        )
    return pd.DataFrame(
        {
            "user": np.array(user_ids, dtype=object)[table["user"]],
            "item": np.array(item_ids, dtype=object)[table["item"]],
            "order": table["order"].to_numpy(np.int64),
        }
    )


def _catalogue(
    given: pd.DataFrame, sieve: _Sieve, names: Mapping[str, str]
) -> pd.DataFrame:
    _require(given, ["item"], "items")
    columns = [name for name in ("item", "text", "attributes") if name in given]
    given = given[columns]
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
    duplicates = sieve.keep(
        table,
        table.duplicated("item"),
        "duplicate_items",
        f"Every `{names['item_key']}` may come once in the item table.",
        "that repeat an earlier id",
        given,
    )
    if len(duplicates) < len(table):
        # Which of the twins stays must not depend on the order of the rows.
        table["blank"] = table["text"] == ""
        table["labels"] = ["\n".join(labels) for labels in table["attributes"]]
        table = table.sort_values(["item", "blank", "text", "labels"])
        table = table.drop_duplicates("item").drop(columns=["blank", "labels"])
    table = table.sort_values("item").reset_index(drop=True)
    return table.assign(item=np.array(item_ids, dtype=object)[table["item"]]).astype(
        {"item": "str", "text": "str"}
    )


def _count(tally: dict[str, int], kind: str, count: int) -> None:
    tally[kind] = tally.get(kind, 0) + count


def _require(table: pd.DataFrame, columns: list[str], what: str) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise DataError(
            f"The {what} need the columns {columns}. Received: {list(table.columns)}, "
            f"without {missing}"
        )
