"""Tables of interactions, items and users, with names of columns as options."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from keras_sllmr.errors import ConfigError
from keras_sllmr.store.clean import OnBad, check_policy, clean
from keras_sllmr.store.columns import Kind, column_specs
from keras_sllmr.store.importers._files import Progress, Reading
from keras_sllmr.store.importers._tables import pick_table
from keras_sllmr.store.importers.table_format import TableFormat
from keras_sllmr.store.raw import RawData


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
    paths = [file for file in (path, items, users) if file is not None]
    reading = Reading(paths, on_bad=on_bad, progress=progress)

    form = TableFormat(
        user=user,
        item=item,
        order=order,
        text=text,
        item_key=item_key,
        attributes=attributes,
        user_key=user_key,
        columns=columns,
    )
    events, order = form.events(reading, path)
    catalogue, labelled = (None, []) if items is None else form.items(reading, items)
    people = None if users is None else form.users(reading, users)
    options = {"text": text, "attributes": labelled}
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
            form.roles(order, with_users=people is not None),
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
