"""Cleaning of further columns: their cells, and the rows of users."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.errors import DataError
from keras_sllmr.store.columns import ColumnSpec, Kind
from keras_sllmr.store.sieve import Sieve, chosen
from keras_sllmr.store.values import (
    categories_of,
    category_of,
    ids,
    number_of,
    shown,
)

# kind -> how a cell is read (None when it breaks the rule), and the rule
_CELLS: dict[Kind, tuple[Callable[[Any], Any], str]] = {
    "categorical": (category_of, "one value"),
    "multi": (categories_of, "one value, or a plain list of them,"),
    "numeric": (number_of, "a finite number"),
}


def clean_users(
    given: pd.DataFrame,
    known: set[str],
    sieve: Sieve,
    names: Mapping[str, str],
    columns: Sequence[ColumnSpec],
) -> pd.DataFrame:
    """Any users' rows of the user table by the rules of `clean`, sorted by id.

    Args:
        given: all rows of these users, in any order.
        known: ids of the users who have events; others are left out.
        sieve: raises or counts what breaks a rule.
        names: what errors call the roles' columns.
        columns: the users'.

    Raises:
        DataError: a column is missing, or a rule is broken.
    """
    given = chosen(given, ["user"], columns, "users")
    user, user_ids = ids(given["user"], names["user_key"])
    table = pd.DataFrame({"user": user})
    table = sieve.keep(
        table,
        table["user"] < 0,
        "user_rows_without_id",
        "Every row of the user table needs the id of its user.",
        f"with a null, empty or unreadable `{names['user_key']}`",
        given,
    )
    table = with_columns(table, columns, sieve, given).drop_duplicates()
    table = sieve.keep(
        table,
        table.duplicated("user", keep=False),
        "contradictory_user_rows",
        f"Rows with the same `{names['user_key']}` must agree in the user table.",
        "that another one contradicts",
        given,
    )
    table = table.sort_values("user")
    people = table.assign(user=np.array(user_ids, dtype=object)[table["user"]])
    people = people[people["user"].isin(known)].reset_index(drop=True)
    return people.astype({"user": "str"})


def require_people(
    known: int, rows: int, given: pd.Series, names: Mapping[str, str]
) -> None:
    """Raises `DataError` when a user table has no user with events.

    Args:
        known: int. Users who have both.
        rows: int. Of the table.
        given: some of its ids.
        names: what errors call the roles' columns.
    """
    if not known:
        _, examples = ids(given, names["user_key"])
        raise DataError(
            "The user table must hold users of the interactions. Received: none of "
            f"them in {rows} rows, whose `{names['user_key']}` are as "
            f"{', '.join(shown(name) for name in examples[:3])}. Check that it is the "
            "right file and the right column of ids."
        )


def with_columns(
    table: pd.DataFrame,
    columns: Sequence[ColumnSpec],
    sieve: Sieve,
    given: pd.DataFrame,
) -> pd.DataFrame:
    """Adds the parsed cells of further columns to the rows that are still there."""
    for column in columns:
        parse, rule = _CELLS[column.kind]
        cells = [parse(cell) for cell in given[column.name].iloc[table.index]]
        table = table.assign(**{column.name: pd.Series(cells, table.index, object)})
        table = sieve.keep(
            table,
            pd.Series([cell is None for cell in cells], table.index, bool),
            f"rows_with_bad_{column.name}",
            f"A cell of the {column.kind} column `{column.name}` must hold {rule} or "
            "be empty.",
            f"with something else in `{column.name}`",
            given,
        )
        if column.kind == "numeric":
            table = table.astype({column.name: "float32"})
    return table
