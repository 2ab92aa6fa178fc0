"""Builds a store from tables of any size, range by range of users and items."""

import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import shard_name, shard_rows, write_shards
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.scratch import Scratch
from keras_sllmr.pipeline.stage import Runner, Stage
from keras_sllmr.store import build_stages
from keras_sllmr.store.build_stages import ITEMS, USERS, Build, PartResult
from keras_sllmr.store.clean import OnBad, check_policy, require_users
from keras_sllmr.store.clean_columns import require_people
from keras_sllmr.store.column_views import write_vocabularies
from keras_sllmr.store.columns import ColumnSpec, Entity, check_unique, vocabulary_of
from keras_sllmr.store.importers._files import Reading
from keras_sllmr.store.importers.table_format import TableFormat
from keras_sllmr.store.manifest import require_replaceable
from keras_sllmr.store.ranges import IdRanges, spans
from keras_sllmr.store.records import SCHEMA_FILE, attribute_records, finish_store
from keras_sllmr.store.schema import COLUMN_VIEWS, write_schema
from keras_sllmr.store.source_units import (
    Sources,
    SourceUnit,
    source_files,
    source_units,
)


def build_store(
    path: str | os.PathLike[str],
    interactions: Sources,
    items: Sources | None = None,
    users: Sources | None = None,
    *,
    form: TableFormat | None = None,
    on_bad: OnBad = "raise",
    min_events: int = 5,
    keep_unseen_items: bool = False,
    rows_per_part: int = 1_000_000,
    runner: Runner | None = None,
) -> None:
    """Writes a store from tables, whole or not at all, byte for byte as `create` does.

    Rows are dealt out to ranges of users and of items, which are cleaned one by one;
    then the views are written shard by shard. So memory holds a range of the rows, and
    of the catalogue its ids and attribute names.

    Args:
        path: the store's folder; an existing store there is replaced.
        interactions: files (`.parquet`, `.csv`, `.csv.gz`, `.jsonl`, `.jsonl.gz`), or
            a folder of them. A Parquet file is read by row groups, others whole.
        items: likewise of the item table. Defaults to none.
        users: likewise of the user table. Defaults to none.
        form: how their columns are called. Defaults to `TableFormat()`.
        on_bad: "raise" or "drop", as for `clean`, and the next two.
        min_events: the fewest events a user needs. Defaults to `5`.
        keep_unseen_items: whether items without interactions stay.
        rows_per_part: int. Rows of a range, about. Defaults to `1_000_000`.
        runner: runs the stages. Defaults to `InProcess`. Its workers must see `path`.

    Raises:
        ConfigError: when an option breaks its rule.
        DataError: when the tables break a rule of `clean`.
        StoreError: when something other than a store is there, another job writes it,
            the disk is full, or a worker failed.

    Example:
        >>> build_store("store", "events/", "items.parquet")        # doctest: +SKIP
    """
    form = form or TableFormat()
    check_policy(on_bad, min_events)
    check_unique(form.columns)
    if rows_per_part < 1:
        raise ConfigError(
            f"`rows_per_part` must be at least 1. Received: {rows_per_part}"
        )
    tables = _Tables.of(form, on_bad, interactions, items, users)
    require_replaceable(path, kind="store")
    with exclusive(path), replace_folder(path) as folder:
        # Within the store's own sibling, which all workers see and which goes with it.
        with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as scratch:
            build = Build(
                Scratch(Path(scratch)),
                form,
                tables.roles,
                on_bad,
                min_events,
                item_table=items is not None,
            )
            job = _Job(build, tables, runner or InProcess(scratch), rows_per_part)
            written = job.run(folder / "views", keep_unseen_items)
        write_schema(folder / SCHEMA_FILE, written.sizes)
        options = {
            **tables.source["options"],
            "on_bad": on_bad,
            "min_events": min_events,
            "keep_unseen_items": keep_unseen_items,
        }
        finish_store(
            folder,
            source={**tables.source, "options": options},
            counts=written.counts,
            dropped=written.dropped,
            notes=written.notes,
            columns=form.columns,
        )


@dataclass(frozen=True)
class _Tables:
    """The source tables in pieces, and what the manifest says of them."""

    interactions: list[SourceUnit]
    items: list[SourceUnit]
    users: list[SourceUnit]
    source: dict[str, Any]
    roles: dict[str, str]

    @classmethod
    def of(
        cls,
        form: TableFormat,
        on_bad: str,
        interactions: Sources,
        items: Sources | None,
        users: Sources | None,
    ) -> "_Tables":
        if users is not None and not any(c.entity == "user" for c in form.columns):
            raise ConfigError(
                "A table of users needs user columns that say what to read. Received: "
                f"users={users!r} alone"
            )
        given = (interactions, items, users)
        files = [[] if table is None else source_files(table) for table in given]
        reading = Reading([file for table in files for file in table], on_bad=on_bad)
        for table in files:
            for file in table:
                reading.note(file)
        # Read again, and not noted twice.
        first = Reading([], on_bad=on_bad)
        _, order = form.events(first, files[0][0], group=0)
        labelled = form.items(first, files[1][0], group=0)[1] if files[1] else []
        roles = form.roles(order, with_users=users is not None)
        options: dict[str, Any] = {"text": form.text, "attributes": labelled}
        if form.columns:
            options["min_count"] = form.columns[0].min_count
        return cls(
            source_units("interactions", files[0]),
            source_units("items", files[1]),
            source_units("users", files[2]),
            reading.source("tables", options, roles),
            roles,
        )


@dataclass(frozen=True)
class _Written:
    """What the manifest and the schema say of the views."""

    counts: dict[str, int]
    dropped: Mapping[str, int]
    notes: dict[str, int]
    sizes: dict[ColumnSpec, int]


class _Job:
    """The stages of one build, in their order."""

    def __init__(
        self, build: Build, tables: _Tables, runner: Runner, rows_per_part: int
    ) -> None:
        self.build, self.tables, self.runner = build, tables, runner
        self.rows_per_part = rows_per_part
        self.dropped: Counter[str] = Counter()

    def run(self, views: Path, keep_unseen: bool) -> _Written:
        """Writes all views but the manifest and the schema."""
        tables, build = self.tables, self.build
        ranges = self._ranges()
        catalogue = self._stage(
            "items",
            tables.items or tables.interactions,
            build_stages.CleanItems(build),
            build_stages.SplitRows(build, ranges[ITEMS], "item"),
        )
        starts = self._catalogue(catalogue)
        users = self._stage(
            "users",
            [*tables.interactions, *tables.users],
            build_stages.CleanUsers(build),
            build_stages.SplitRows(build, ranges[USERS], "user"),
        )
        total = _total(users.values())
        require_users(
            total.rows, total.given, total.longest, build.min_events, self.dropped
        )
        notes = self._people(total) if tables.users else {}
        items = sum(part.rows for part in catalogue.values())
        seen = self._seen(users, items)
        keep = keep_unseen and build.item_table
        parts = [(part, start, keep) for part, start in starts.items()]
        kept = self.runner.run(
            Stage("items with events", parts, build_stages.KeepItems(build))
        )
        found = _total(kept.values())
        vocabularies = self._vocabularies(total.counts | found.counts)
        names = self._indices(starts, found)
        of_entity: dict[Entity, dict[int, int]] = {
            "user": {part: one.rows for part, one in users.items()},
            "item": {
                part: one.rows for part, one in zip(starts, kept.values(), strict=True)
            },
            "context": {part: one.events for part, one in users.items()},
        }
        counts = {"user_history": of_entity["user"], "item_content": of_entity["item"]}
        for spec in build.form.columns:
            counts[COLUMN_VIEWS[spec.entity]] = of_entity[spec.entity]
        self._write(views, counts)
        write_shards(views / "attribute", attribute_records(names), count=len(names))
        rows = {view: sum(parts.values()) for view, parts in counts.items()}
        rows["attribute"] = len(names)
        rows |= write_vocabularies(views, vocabularies)
        unseen = items - seen if build.item_table else 0
        return _Written(
            {**rows, "interactions": total.events},
            self.dropped,
            {
                **notes,
                "items_without_interactions": unseen,
                "items_without_text": found.without_text,
            },
            {spec: len(vocabularies.get(spec.name, [])) for spec in build.form.columns},
        )

    def _ranges(self) -> dict[int, IdRanges]:
        """Ranges of users and items, from a sample of their ids."""
        units = [*self.tables.interactions, *self.tables.items]
        if not self.tables.items:
            units += [replace(one, table="items") for one in self.tables.interactions]
        samples = self.runner.run(
            Stage(
                "sample",
                units,
                build_stages.joined_samples,
                build_stages.SampleIds(self.build),
            )
        )
        return {
            key: IdRanges.balanced(names, math.ceil(rows / self.rows_per_part))
            for key, (names, rows) in samples.items()
        }

    def _stage(
        self, name: str, units: Sequence[Any], combine: Any, split: Any
    ) -> dict[int, PartResult]:
        found = dict(self.runner.run(Stage(name, units, combine, split)))
        for part in found.values():
            self.dropped.update(part.dropped)
        return found

    def _catalogue(self, parts: Mapping[int, PartResult]) -> dict[int, int]:
        """Keeps the ids of all items; where each part begins among them."""
        names: list[str] = []
        starts = {}
        for part in parts:
            starts[part] = len(names)
            names += self.build.scratch.kept(f"catalogue-{part}")["item"].tolist()
        self.build.scratch.keep("catalogue", pd.Index(names, dtype=object))
        return starts

    def _people(self, total: PartResult) -> dict[str, int]:
        units = self.tables.users
        if not total.people:
            frame, _ = units[0].read(self.build.form, self.build.on_bad)
            rows = sum(u.ids(self.build.form, self.build.on_bad)[1] for u in units)
            require_people(0, rows, frame["user"], self.build.names)
        return {"users_without_a_row_in_the_user_table": total.rows - total.people}

    def _seen(self, users: Mapping[int, PartResult], items: int) -> int:
        """Keeps which items anybody has events with; returns how many."""
        seen = np.packbits(np.zeros(items, bool))
        for part in users:
            seen |= self.build.scratch.kept(f"seen-{part}")
        self.build.scratch.keep("seen", seen)
        return int(np.unpackbits(seen, count=items).sum())

    def _vocabularies(self, counts: Mapping[str, Counter[str]]) -> dict[str, list[str]]:
        vocabularies = {
            spec.name: vocabulary_of(spec, counts.get(spec.name, {}))
            for spec in self.build.form.columns
            if spec.kind != "numeric"
        }
        self.build.scratch.keep("vocabularies", vocabularies)
        return vocabularies

    def _indices(self, parts: Iterable[int], found: PartResult) -> list[str]:
        """Keeps the indices of items and attributes; returns the latter's names."""
        items = [
            name
            for part in parts
            for name in self.build.scratch.kept(f"items-{part}")[0]
        ]
        self.build.scratch.keep("items", pd.Index(items, dtype=object))
        names = sorted(found.labels)
        index = {name: number for number, name in enumerate(names, start=1)}
        self.build.scratch.keep("attributes", index)
        return names

    def _write(self, views: Path, counts: Mapping[str, Mapping[int, int]]) -> None:
        units = []
        for view, of_part in counts.items():
            rows, parts = sum(of_part.values()), list(of_part)
            size = shard_rows(rows) if rows else 1
            starts = range(0, max(rows, 1), size)
            for shard, start in enumerate(starts):
                found = spans(list(of_part.values()), start, min(start + size, rows))
                where = [(parts[place], first, last) for place, first, last in found]
                units.append((view, shard_name(shard, len(starts)), where))
        self.runner.run(
            Stage("views", units, build_stages.WriteView(self.build, views))
        )


def _total(parts: Any) -> PartResult:
    total = PartResult()
    for part in parts:
        total.rows += part.rows
        total.events += part.events
        total.given += part.given
        total.people += part.people
        total.without_text += part.without_text
        total.longest = max(total.longest, part.longest)
        total.labels |= part.labels
        for name, counts in part.counts.items():
            total.counts[name] = total.counts.get(name, Counter()) + counts
    return total
