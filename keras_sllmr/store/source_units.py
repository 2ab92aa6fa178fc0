"""Source tables in pieces: files, and row groups of Parquet files."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pandas as pd

from keras_sllmr.errors import DataError
from keras_sllmr.store.importers._files import Reading
from keras_sllmr.store.importers._tables import read_table, row_groups
from keras_sllmr.store.importers.table_format import TableFormat
from keras_sllmr.store.values import ids

Table: TypeAlias = Literal["interactions", "items", "users"]
Sources: TypeAlias = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class SourceUnit:
    """A piece of a table.

    Args:
        table: which.
        path: of the file.
        group: row group of a Parquet file, or none for the whole file.
        named: do errors about a row name its file?
    """

    table: Table
    path: Path
    group: int | None = None
    named: bool = False

    def read(
        self, form: TableFormat, on_bad: str
    ) -> tuple[pd.DataFrame, dict[str, int]]:
        """The piece's rows as `clean` takes them, and what its reader dropped."""
        reading = Reading([self.path], on_bad=on_bad)
        if self.table == "interactions":
            frame, _ = form.events(reading, self.path, group=self.group)
        elif self.table == "items":
            frame, _ = form.items(reading, self.path, group=self.group)
        else:
            frame = form.users(reading, self.path, group=self.group)
        if self.named:
            file = pd.Index([self.path.name])
            frame.index = pd.MultiIndex.from_product([file, frame.index])
        return frame, reading.dropped

    def ids(self, form: TableFormat, on_bad: str) -> tuple[list[str], int]:
        """The different ids of its users or items, sorted, and how many rows it has."""
        name = {
            "interactions": form.user,
            "items": form.item_key or form.item,
            "users": form.user_key or form.user,
        }[self.table]
        reading = Reading([self.path], on_bad=on_bad)
        frame = read_table(reading, self.path, lambda _: [name], group=self.group)
        return ids(frame.iloc[:, 0], name)[1], len(frame)


def source_files(sources: Sources) -> list[Path]:
    """The files of a table: one, several, or all of a folder.

    Raises:
        DataError: when there is none.
    """
    given = [sources] if isinstance(sources, str | os.PathLike) else list(sources)
    found = list(_files(given))
    if not found:
        raise DataError(f"A table needs a file at least. Received: {given}")
    return found


def _files(given: Sequence[str | os.PathLike[str]]) -> Iterator[Path]:
    for path in map(Path, given):
        if path.is_dir():
            yield from sorted(
                file
                for file in path.iterdir()
                if file.is_file() and not file.name.startswith((".", "_"))
            )
        else:
            yield path


def source_units(table: Table, files: Sequence[Path]) -> list[SourceUnit]:
    """The pieces of a table's files, in their order.

    Raises:
        DataError: when a file is missing or damaged.
    """
    return [
        SourceUnit(table, path, group, named=len(files) > 1)
        for path in files
        for group in row_groups(path)
    ]
