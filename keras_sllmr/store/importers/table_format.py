"""How tables of interactions, items and users name their columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.store.columns import ENTITIES, ColumnSpec, Entity, column_specs
from keras_sllmr.store.importers._files import Reading
from keras_sllmr.store.importers._tables import read_table, values_of

_ORDERS = ("position", "timestamp", "time")


@dataclass(frozen=True)
class TableFormat:
    """Names of the columns of an interaction, an item and a user table.

    Args:
        user: the interactions' user column.
        item: the interactions' item column.
        order: the interactions' time or position column. Defaults to the one of
            "position", "timestamp" and "time" that exists.
        text: the items' text column.
        item_key: the items' id column. Defaults to the name in `item`.
        attributes: the items' attribute columns. Defaults to the column "attributes"
            if there is one.
        user_key: the users' id column. Defaults to the name in `user`.
        columns: further columns of all three. Defaults to none.
    """

    user: str = "user_id"
    item: str = "item_id"
    order: str | None = None
    text: str = "text"
    item_key: str | None = None
    attributes: Sequence[str] | None = None
    user_key: str | None = None
    columns: tuple[ColumnSpec, ...] = ()

    def events(
        self, reading: Reading, path: Path, *, group: int | None = None
    ) -> tuple[pd.DataFrame, str]:
        """The columns `user`, `item`, `order` and the context's of a file.

        Args:
            reading: of the data set.
            path: the file.
            group: int. The row group of a Parquet file. Defaults to all.

        Returns:
            The table, and what its order column is called.
        """

        def wanted(names: list[str]) -> list[str]:
            order = self.order or _only_order(path, names)
            return [self.user, self.item, order, *self._names("context")]

        read = read_table(reading, path, wanted, group=group)
        events = read.iloc[:, :3].set_axis(["user", "item", "order"], axis=1)
        return self._with_columns(events, read.iloc[:, 3:], "context"), read.columns[2]

    def items(
        self, reading: Reading, path: Path, *, group: int | None = None
    ) -> tuple[pd.DataFrame, list[str]]:
        """The columns `item`, `text`, `attributes` and the items' own of a file.

        Returns:
            The table, and the names of its attribute columns.
        """

        def wanted(names: list[str]) -> list[str]:
            implied = [name for name in ("attributes",) if name in names]
            labelled = implied if self.attributes is None else self.attributes
            key = self.item_key or self.item
            return [key, self.text, *labelled, *self._names("item")]

        read = read_table(reading, path, wanted, group=group)
        end = len(read.columns) - len(self._names("item"))
        items = pd.DataFrame({"item": read.iloc[:, 0], "text": read.iloc[:, 1]})
        items["attributes"] = _labels(read.iloc[:, 2:end], path)
        items = self._with_columns(items, read.iloc[:, end:], "item")
        return items, read.columns[2:end].tolist()

    def users(
        self, reading: Reading, path: Path, *, group: int | None = None
    ) -> pd.DataFrame:
        """The columns `user` and the users' own of a file."""
        wanted = [self.user_key or self.user, *self._names("user")]
        read = read_table(reading, path, lambda _: wanted, group=group)
        users = pd.DataFrame({"user": read.iloc[:, 0]})
        return self._with_columns(users, read.iloc[:, 1:], "user")

    def roles(self, order: str, *, with_users: bool) -> dict[str, str]:
        """What errors and the manifest call each role's column."""
        roles = {
            "user": self.user,
            "item": self.item,
            "order": order,
            "item_key": self.item_key or self.item,
        }
        return roles | ({"user_key": self.user_key or self.user} if with_users else {})

    def _names(self, entity: Entity) -> list[str]:
        return [spec.name for spec in self.columns if spec.entity == entity]

    def _with_columns(
        self, table: pd.DataFrame, read: pd.DataFrame, entity: Entity
    ) -> pd.DataFrame:
        """Adds what was read of an entity's columns, in their order."""
        specs = [spec for spec in self.columns if spec.entity == entity]
        for place, spec in enumerate(specs):
            cells = read.iloc[:, place]
            if spec.kind == "multi":
                lists = [values_of(cell) for cell in cells]
                cells = pd.Series(lists, cells.index, object)
            table[spec.name] = cells
        return table


def table_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `read_tables` as `build_store` takes them.

    Args:
        options: by name; those of the format together become `form`.

    Raises:
        ConfigError: on an unknown option, or a column that breaks a rule.

    Example:
        >>> sorted(table_options({"order": "time", "min_events": 3}))
        ['form', 'min_events']
    """
    given = dict(options)
    policy: dict[str, Any] = {
        name: given.pop(name)
        for name in ("on_bad", "min_events", "keep_unseen_items")
        if name in given
    }
    kinds = [given.pop(f"{entity}_columns", None) for entity in ENTITIES]
    columns = column_specs(*kinds, min_count=given.pop("min_count", 1))
    known = {field.name for field in fields(TableFormat)} - {"columns"}
    if unknown := sorted(set(given) - known):
        raise ConfigError(
            f"Options of tables must be among {', '.join(sorted(known))}, the policies "
            "and the columns of `sllmr import`. Received: " + ", ".join(unknown)
        )
    return {"form": TableFormat(**given, columns=columns), **policy}


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
