"""Chosen columns of Parquet, CSV and JSON Lines files."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from keras_sllmr.errors import DataError
from keras_sllmr.store.importers._files import Reading, pick

_CSV = (".csv", ".csv.gz")
_JSON = (".jsonl", ".jsonl.gz")
_SUFFIXES = (".parquet", *_CSV, *_JSON)

# Given the names that a table has, says which ones are wanted.
Choice = Callable[[list[str]], list[str]]


def pick_table(folder: Path, stem: str) -> Path:
    """The one table of that name in a folder."""
    return pick(folder, *(f"{stem}{suffix}" for suffix in _SUFFIXES))


def read_table(
    reading: Reading, path: Path, choose: Choice, *, group: int | None = None
) -> pd.DataFrame:
    """The chosen columns, indexed by line or (Parquet) row, counted from 1.

    With `group` only that row group of a Parquet file, whose hash is not taken then.
    """
    if path.name.endswith(".parquet"):
        return _read_parquet(reading, path, choose, group)
    if path.name.endswith(_CSV):
        return _read_csv(reading, path, choose)
    if path.name.endswith(_JSON):
        return _read_json(reading, path, choose)
    raise DataError(f"A table must end in one of {list(_SUFFIXES)}. Received: {path}")


def _read_csv(reading: Reading, path: Path, choose: Choice) -> pd.DataFrame:
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


def row_groups(path: Path) -> list[int | None]:
    """What can be read of a table one by one: a Parquet file's row groups."""
    if not path.name.endswith(".parquet"):
        return [None]
    with _parquet_errors(path), pq.ParquetFile(path) as file:
        return list(range(file.num_row_groups)) or [None]


def _read_parquet(
    reading: Reading, path: Path, choose: Choice, group: int | None
) -> pd.DataFrame:
    if group is None:
        reading.note(path)
    with _parquet_errors(path):
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            chosen = _existing(path, names, choose(names))
            columns, before = list(dict.fromkeys(chosen)), 0
            if group is None:
                table = file.read(columns=columns)
            else:
                about = file.metadata
                before = sum(about.row_group(k).num_rows for k in range(group))
                table = file.read_row_group(group, columns=columns)
        table.validate(full=True)
    # A null would turn integer ids into floats, which cannot hold the long ones.
    frame = table.to_pandas(
        integer_object_nulls=True, date_as_object=False, ignore_metadata=True
    )
    frame.index = pd.RangeIndex(before + 1, before + len(frame) + 1, name="row")
    return frame[chosen]


@contextlib.contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} must be a whole Parquet file of UTF-8 text. Received: "
            f"{str(error).strip()}. Write or download it again."
        ) from error


def _read_json(reading: Reading, path: Path, choose: Choice) -> pd.DataFrame:
    lines, records = [], []
    for line, record in reading.records(path):
        lines.append(line)
        records.append(record)
    names = list(dict.fromkeys(name for record in records for name in record))
    chosen = _existing(path, names, choose(names))
    # As objects: a gap would turn integer ids into floats.
    columns = [
        pd.Series([record.get(name) for record in records], dtype=object)
        for name in chosen
    ]
    return pd.concat(columns, axis=1, keys=chosen).set_axis(
        pd.Index(lines, dtype="int64", name="line")
    )


def _existing(path: Path, names: list[str], wanted: list[str]) -> list[str]:
    unclear = [name for name in dict.fromkeys(wanted) if names.count(name) != 1]
    if unclear:
        raise DataError(
            f"{path} must have each of the columns {wanted} once. Received: {names}, "
            f"where {unclear} are missing or come twice. Name the columns by options."
        )
    return wanted


def values_of(cell: Any) -> list[Any]:
    """A cell's values: one, those of a list, or those of a JSON list in a text."""
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
