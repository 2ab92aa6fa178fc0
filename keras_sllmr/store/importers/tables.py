"""Parquet and CSV tables, with names of columns as options."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from keras_sllmr.errors import DataError
from keras_sllmr.store.clean import OnBad, check_policy, clean
from keras_sllmr.store.importers._files import Progress, Reading, pick
from keras_sllmr.store.raw import RawData

_SUFFIXES = (".parquet", ".csv", ".csv.gz")
_ORDERS = ("position", "timestamp", "time")

# Given the names that a table has, says which ones are wanted.
_Choice = Callable[[list[str]], list[str]]


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
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    progress: Progress | None = None,
) -> RawData:
    r"""Reads an interaction and an item table: `.parquet`, `.csv` or `.csv.gz`.

    Attribute columns hold one value or a list of values a row (in CSV: a JSON list);
    a value v of the column c becomes the attribute "c=v". Empty cells are none.

    Args:
        interactions: the interaction table, or a folder that holds `interactions`
            and `items` with one of these suffixes.
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
        on_bad: "raise" or "drop" what breaks a rule. Defaults to "raise".
        min_events: the fewest events a user needs. Defaults to 5.
        keep_unseen_items: whether items without interactions stay. Defaults to False.
        progress: called with (bytes read, bytes in all).

    Returns:
        The cleaned `RawData`.

    Raises:
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
    path = Path(interactions)
    if path.is_dir():
        folder = path
        path = pick(folder, *(f"interactions{suffix}" for suffix in _SUFFIXES))
        items = items or pick(folder, *(f"items{suffix}" for suffix in _SUFFIXES))
    items = None if items is None else Path(items)
    item_key = item_key or item
    paths = [path] if items is None else [path, items]
    reading = Reading(paths, on_bad=on_bad, progress=progress)

    def event_columns(names: list[str]) -> list[str]:
        return [user, item, order or _only_order(path, names)]

    def item_columns(names: list[str]) -> list[str]:
        implied = [name for name in ("attributes",) if name in names]
        return [item_key, text, *(implied if attributes is None else attributes)]

    events = _read(reading, path, event_columns)
    order = events.columns[2]
    catalogue = None
    if items is not None:
        read = _read(reading, items, item_columns)
        labelled = read.columns[2:].tolist()
        catalogue = pd.DataFrame({"item": read.iloc[:, 0], "text": read.iloc[:, 1]})
        catalogue["attributes"] = _labels(read.iloc[:, 2:], items)
    else:
        labelled = []
    return clean(
        events.set_axis(["user", "item", "order"], axis=1),
        catalogue,
        on_bad=on_bad,
        min_events=min_events,
        keep_unseen_items=keep_unseen_items,
        source=reading.source(
            "tables",
            {"text": text, "attributes": labelled},
            {"user": user, "item": item, "order": order, "item_key": item_key},
        ),
        dropped=reading.dropped,
    )


def _only_order(path: Path, names: list[str]) -> str:
    found = [name for name in _ORDERS if name in names]
    if len(found) != 1:
        raise DataError(
            f"Interactions need one of the columns {list(_ORDERS)}, or `order` must "
            f"name theirs. Received: {names} in {path}"
        )
    return found[0]


def _read(reading: Reading, path: Path, choose: _Choice) -> pd.DataFrame:
    """The chosen columns, indexed by line (CSV) or row (Parquet), counted from 1."""
    if path.name.endswith(".parquet"):
        return _read_parquet(reading, path, choose)
    if path.name.endswith((".csv", ".csv.gz")):
        return _read_csv(reading, path, choose)
    raise DataError(f"A table must end in one of {list(_SUFFIXES)}. Received: {path}")


def _read_csv(reading: Reading, path: Path, choose: _Choice) -> pd.DataFrame:
    rows = reading.rows(path)
    _, names = next(rows, (0, []))
    chosen = _existing(path, names, choose(names))
    places = [names.index(name) for name in chosen]
    columns: list[list[str]] = [[] for _ in chosen]
    # Ids come many times; one object for all of them keeps large tables small.
    shared: list[dict[str, str]] = [{} for _ in chosen]
    lines = []
    for line, row in rows:
        lines.append(line)
        for place, column, known in zip(places, columns, shared, strict=True):
            column.append(known.setdefault(row[place], row[place]))
    # Everything stays text: an id "007" or a title "NA" must not become a value.
    series = [pd.Series(column, dtype=object) for column in columns]
    return pd.concat(series, axis=1, keys=chosen).set_axis(
        pd.Index(lines, dtype="int64", name="line")
    )


def _read_parquet(reading: Reading, path: Path, choose: _Choice) -> pd.DataFrame:
    reading.note(path)
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            chosen = _existing(path, names, choose(names))
            table = file.read(columns=list(dict.fromkeys(chosen)))
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} must be a whole Parquet file of UTF-8 text. Received: "
            f"{str(error).strip()}. Write or download it again."
        ) from error
    # A null would turn integer ids into floats, which cannot hold the long ones.
    frame = table.to_pandas(
        integer_object_nulls=True, date_as_object=False, ignore_metadata=True
    )
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="row")
    return frame[chosen]


def _existing(path: Path, names: list[str], wanted: list[str]) -> list[str]:
    unclear = [name for name in dict.fromkeys(wanted) if names.count(name) != 1]
    if unclear:
        raise DataError(
            f"{path} must have each of the columns {wanted} once. Received: {names}, "
            f"where {unclear} are missing or come twice. Name the columns by options."
        )
    return wanted


def _labels(columns: pd.DataFrame, path: Path) -> list[list[str]]:
    labels: list[list[str]] = [[] for _ in range(len(columns))]
    for place, name in enumerate(columns.columns):
        for row, cell in zip(labels, columns.iloc[:, place], strict=True):
            for value in _values(cell):
                if isinstance(value, (list, dict, np.ndarray)):
                    raise DataError(
                        f"Attributes must be values or plain lists of values. Received: "
                        f"{str(value)[:60]} in `{name}` of {path}"
                    )
                if not (value == "" or pd.isna(value)):
                    row.append(f"{name}={value}")
    return labels


def _values(cell: Any) -> list[Any]:
    if isinstance(cell, str) and cell.startswith("["):
        try:
            cell = json.loads(cell)
        except ValueError:
            return [cell]
    if isinstance(cell, np.ndarray):
        cell = cell.tolist()
    values = cell if isinstance(cell, list) else [cell]
    # A column of integers with gaps comes as floats: 3.0 means 3.
    return [
        int(value) if isinstance(value, float) and value.is_integer() else value
        for value in values
    ]
