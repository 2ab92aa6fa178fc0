"""Tables of interactions, items and users, with names of columns as options."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.clean import OnBad, check_policy, clean
from keras_sllmr.store.columns import ColumnSpec, Entity, Kind, column_specs
from keras_sllmr.store.importers._files import Progress, Reading
from keras_sllmr.store.importers._tables import pick_table, read_table, values_of
from keras_sllmr.store.raw import RawData

_ORDERS = ("position", "timestamp", "time")


def read_tables(
    interactions: str | os.PathLike[str],
    items: str | os.PathLike[str] | None = None,
    *,
    user: str = "user_id",
    item: str = "item_id",
    order: str | None = None,
    text: str = "text",
    item_key: str | None = None,
    attributes: Sequence[str] | None = None,
    users: str | os.PathLike[str] | None = None,
    user_key: str | None = None,
    user_columns: Mapping[str, Kind] | None = None,
    item_columns: Mapping[str, Kind] | None = None,
    context_columns: Mapping[str, Kind] | None = None,
    min_count: int = 1,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    progress: Progress | None = None,
) -> RawData:
    r"""Reads an interaction, an item and a user table: Parquet, CSV or JSON Lines.

    Attribute columns hold one value or a list of values a row (in CSV: a JSON list);
    a value v of the column c becomes the attribute "c=v". Empty cells are none.

    Further columns of users, items and interactions ("context") are fields of their
    own. Each has a kind: "categorical" (one value a row), "multi" (a list of values,
    as attribute columns hold them) or "numeric". Empty cells are missing values.

    Args:
        interactions: the interaction table (`.parquet`, `.csv`, `.csv.gz`, `.jsonl`
            or `.jsonl.gz`), or a folder that holds `interactions`, `items` and, for
            user columns, `users` with one of these suffixes.
        items: the item table. Defaults to None: the catalogue is the items that were
            interacted with, without texts; with a folder, the `items` it holds.
        user: the interactions' user column. Defaults to "user_id".
        item: the interactions' item column. Defaults to "item_id".
        order: the interactions' time or position column. Defaults to None: the one of
            "position", "timestamp" and "time" that exists.
        text: the items' text column. Defaults to "text".
        item_key: the items' id column. Defaults to None, the name in `item`.
        attributes: the items' attribute columns. Defaults to None: the column
            "attributes" if there is one.
        users: the user table. Defaults to None; with a folder, the `users` it holds.
        user_key: the users' id column. Defaults to None, the name in `user`.
        user_columns: name to kind of columns of the user table. Defaults to none.
        item_columns: likewise of the item table.
        context_columns: likewise of the interaction table.
        min_count: values of these columns that fewer users, items or training events
            have are "unknown". Defaults to 1.
        on_bad: "raise" or "drop" what breaks a rule. Defaults to "raise".
        min_events: the fewest events a user needs. Defaults to 5.
        keep_unseen_items: whether items without interactions stay. Defaults to False.
        progress: called with (bytes read, bytes in all).

    Returns:
        The cleaned `RawData`.

    Raises:
        ConfigError: an option is out of its range, or a column's name or kind.
        DataError: a file or a column is missing, a file is damaged, or breaks a rule
            of `keras_sllmr.store.clean.clean`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "plays.csv"
        >>> _ = path.write_text("who,what,time\nu,b,20\nu,a,10\n")
        >>> data = read_tables(path, user="who", item="what", min_events=2)
        >>> data.interactions["item"].tolist()
        ['a', 'b']
    """
    check_policy(on_bad, min_events)
    columns = column_specs(
        user_columns, item_columns, context_columns, min_count=min_count
    )
    path, items, users = _paths(interactions, items, users, bool(user_columns))
    item_key, user_key = item_key or item, user_key or user
    paths = [file for file in (path, items, users) if file is not None]
    reading = Reading(paths, on_bad=on_bad, progress=progress)

    def event_columns(names: list[str]) -> list[str]:
        order_column = order or _only_order(path, names)
        return [user, item, order_column, *(context_columns or {})]

    def catalogue_columns(names: list[str]) -> list[str]:
        implied = [name for name in ("attributes",) if name in names]
        wanted = implied if attributes is None else attributes
        return [item_key, text, *wanted, *(item_columns or {})]

    read = read_table(reading, path, event_columns)
    order = read.columns[2]
    events = read.iloc[:, :3].set_axis(["user", "item", "order"], axis=1)
    events = _with_columns(events, read.iloc[:, 3:], columns, "context")
    catalogue, labelled = None, []
    if items is not None:
        read = read_table(reading, items, catalogue_columns)
        end = len(read.columns) - len(item_columns or {})
        labelled = read.columns[2:end].tolist()
        catalogue = pd.DataFrame({"item": read.iloc[:, 0], "text": read.iloc[:, 1]})
        catalogue["attributes"] = _labels(read.iloc[:, 2:end], items)
        catalogue = _with_columns(catalogue, read.iloc[:, end:], columns, "item")
    people = None
    if users is not None:
        read = read_table(reading, users, lambda _: [user_key, *(user_columns or {})])
        people = pd.DataFrame({"user": read.iloc[:, 0]})
        people = _with_columns(people, read.iloc[:, 1:], columns, "user")
    options = {"text": text, "attributes": labelled}
    roles = {"user": user, "item": item, "order": order, "item_key": item_key}
    return clean(
        events,
        catalogue,
        on_bad=on_bad,
        min_events=min_events,
        keep_unseen_items=keep_unseen_items,
        users=people,
        columns=columns,
        source=reading.source(
            "tables",
            options | ({"min_count": min_count} if columns else {}),
            roles | ({"user_key": user_key} if people is not None else {}),
        ),
        dropped=reading.dropped,
    )


def _paths(
    interactions: str | os.PathLike[str],
    items: str | os.PathLike[str] | None,
    users: str | os.PathLike[str] | None,
    with_users: bool,
) -> tuple[Path, Path | None, Path | None]:
    """The three tables' files, those of a folder filled in."""
    if users is not None and not with_users:
        raise ConfigError(
            "A table of users needs `user_columns` that say what to read. Received: "
            f"users={str(users)!r} alone"
        )
    path = Path(interactions)
    if path.is_dir():
        folder = path
        path = pick_table(folder, "interactions")
        items = items or pick_table(folder, "items")
        if with_users:
            users = users or pick_table(folder, "users")
    return (
        path,
        None if items is None else Path(items),
        None if users is None else Path(users),
    )


def _with_columns(
    table: pd.DataFrame,
    read: pd.DataFrame,
    columns: Sequence[ColumnSpec],
    entity: Entity,
) -> pd.DataFrame:
    """Adds what was read of an entity's columns, in their order."""
    specs = [spec for spec in columns if spec.entity == entity]
    for place, spec in enumerate(specs):
        cells = read.iloc[:, place]
        if spec.kind == "multi":
            lists = [values_of(cell) for cell in cells]
            cells = pd.Series(lists, cells.index, object)
        table[spec.name] = cells
    return table


def _only_order(path: Path, names: list[str]) -> str:
    found = [name for name in _ORDERS if name in names]
    if len(found) != 1:
        raise DataError(
            f"Interactions need one of the columns {list(_ORDERS)}, or `order` must "
            f"name theirs. Received: {names} in {path}"
        )
    return found[0]


def _labels(columns: pd.DataFrame, path: Path) -> list[list[str]]:
    labels: list[list[str]] = [[] for _ in range(len(columns))]
    for place, name in enumerate(columns.columns):
        for row, cell in zip(labels, columns.iloc[:, place], strict=True):
            for value in values_of(cell):
                if isinstance(value, (list, dict, np.ndarray)):
                    raise DataError(
                        f"Attributes must be values or plain lists of values. Received: "
                        f"{str(value)[:60]} in `{name}` of {path}"
                    )
                if not (value == "" or pd.isna(value)):
                    row.append(f"{name}={value}")
    return labels
