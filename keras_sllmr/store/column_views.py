"""Further columns as views of the store: TFRecord shards beside the others."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.tfrecord import example, read_shards, write_shards
from keras_sllmr.store.columns import (
    Column,
    ColumnSpec,
    Entity,
    category_counts,
    encoded,
    kinds_by_entity,
    moments,
    vocabulary_of,
)
from keras_sllmr.store.history import training_mask
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.raw import RawData
from keras_sllmr.store.schema import (
    COLUMN_VIEWS,
    parsing_spec,
    read_columns,
    vocabulary_view,
)


class ColumnViews:
    """The further columns of imported data, ready to be written.

    A vocabulary holds what at least `min_count` users or items have. Of a context
    column only training events count, so that nothing that was new in a held-out
    event is known before it.

    Args:
        raw: the imported data.
        users: ids in the store's order.
        events: the users' histories in the same order.
    """

    def __init__(self, raw: RawData, users: list[str], events: Ragged) -> None:
        trained = training_mask(events)
        self._vocabularies: dict[str, list[str]] = {}
        self._values: dict[Entity, dict[str, list[Any]]] = {}
        #: size of each column's vocabulary, as `write_schema` takes it.
        self.sizes: dict[ColumnSpec, int] = {}
        for spec in raw.columns:
            cells = _cells(raw, spec, users)
            known: list[str] = []
            if spec.kind != "numeric":
                counted = trained if spec.entity == "context" else None
                known = vocabulary_of(spec, category_counts(spec, cells, counted))
                self._vocabularies[spec.name] = known
            values = self._values.setdefault(spec.entity, {})
            values[spec.name] = encoded(spec, cells, known)
            self.sizes[spec] = len(known)

    def write(self, folder: Path) -> dict[str, int]:
        """Writes the views; returns the number of records of each."""
        counts = {}
        for entity, values in self._values.items():
            view = COLUMN_VIEWS[entity]
            counts[view] = len(next(iter(values.values())))
            write_shards(folder / view, cell_records(values), count=counts[view])
        return counts | write_vocabularies(folder, self._vocabularies)


def write_vocabularies(
    folder: Path, vocabularies: Mapping[str, list[str]]
) -> dict[str, int]:
    """Writes the vocabularies of columns; returns the number of records of each."""
    counts = {}
    for name, known in vocabularies.items():
        view = vocabulary_view(name)
        counts[view] = len(known)
        records = (example(category=value) for value in known)
        write_shards(folder / view, records, count=counts[view])
    return counts


def _cells(raw: RawData, spec: ColumnSpec, users: list[str]) -> list[Any]:
    if spec.entity == "user":
        if raw.users is None:
            raise DataError(
                f"User columns need a table of users. Received: {spec.name!r} without "
                "one"
            )
        known = dict(zip(raw.users["user"], raw.users[spec.name], strict=True))
        return [known.get(user, spec.missing) for user in users]
    table = raw.items if spec.entity == "item" else raw.interactions
    return table[spec.name].tolist()


def cell_records(values: Mapping[str, list[Any]]) -> Iterator[bytes]:
    """The records of encoded columns, `[rows]` each."""
    for row in zip(*values.values(), strict=True):
        yield example(**dict(zip(values, row, strict=True)))


def read_column_views(
    folder: Path, schema: Path, manifest: Mapping[str, Any], events: Ragged
) -> dict[str, Column]:
    """Reads all further columns that the schema describes.

    Args:
        folder: of the views.
        schema: the store's `schema.pbtxt`.
        manifest: the store's.
        events: the users' histories, with the empty row 0.

    Raises:
        StoreError: when the schema, the manifest and the views do not agree.
    """
    specs = read_columns(schema)
    if kinds_by_entity(specs) != manifest.get("columns", {}):
        raise StoreError(
            f"{schema} does not describe the columns that the manifest names. Received: "
            f"{kinds_by_entity(specs)} and {manifest.get('columns', {})}. Make the store "
            "again from its source."
        )

    def read(view: str, count: int) -> dict[str, Any]:
        return read_shards(folder / view, parsing_spec(schema, view), count=count)

    trained, counts = training_mask(events), manifest["counts"]
    rows: dict[Entity, int] = {
        "user": counts["user_history"],
        "item": counts["item_content"],
        "context": len(events.values),
    }
    columns = {}
    for entity in dict.fromkeys(spec.entity for spec in specs):
        values = read(COLUMN_VIEWS[entity], rows[entity])
        for spec in (spec for spec in specs if spec.entity == entity):
            if spec.kind == "numeric":
                columns[spec.name] = _numbers(spec, values[spec.name], trained)
                continue
            view = vocabulary_view(spec.name)
            names = read(view, counts.get(view))["category"]
            columns[spec.name] = _indices(spec, values[spec.name], names)
    return columns


def _numbers(spec: ColumnSpec, values: np.ndarray, trained: np.ndarray) -> Column:
    if spec.entity == "context":
        mean, std = moments(values[trained])
    else:
        mean, std = moments(values)
        values = np.concatenate([np.array([np.nan], np.float32), values])
    return Column(spec.name, spec.entity, spec.kind, values, mean=mean, std=std)


def _indices(spec: ColumnSpec, read: Any, names: np.ndarray) -> Column:
    flat, offsets = read if spec.kind == "multi" else (read, None)
    lowest = 0 if offsets is None else 1
    if len(flat) and not lowest <= flat.min() <= flat.max() <= len(names):
        raise StoreError(
            f"The indices of the column {spec.name!r} must be from {lowest} to "
            f"{len(names)}, the size of its vocabulary. Received: {flat.min()} to "
            f"{flat.max()}. Make the store again from its source."
        )
    empty_row = np.zeros(int(spec.entity != "context"), np.int64)
    values: np.ndarray | Ragged
    if offsets is None:
        values = np.concatenate([empty_row, flat]).astype(np.int32)
    else:
        values = Ragged(flat.astype(np.int32), np.concatenate([empty_row, offsets]))
    return Column(spec.name, spec.entity, spec.kind, values, vocabulary(names))


def vocabulary(values: np.ndarray) -> np.ndarray:
    """Stored texts as str `[n + 1]`; entry 0 is ""."""
    return np.array(["", *(value.decode("utf-8") for value in values)], dtype=object)
