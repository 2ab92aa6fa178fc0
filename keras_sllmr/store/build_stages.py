"""What building a store does with a piece of a table, and with a range of ids."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.io.tfrecord import write_shard
from keras_sllmr.pipeline.scratch import Scratch
from keras_sllmr.store.clean import Histories, OnBad, clean_events, clean_items
from keras_sllmr.store.clean_columns import clean_users
from keras_sllmr.store.column_views import cell_records
from keras_sllmr.store.columns import ColumnSpec, Entity, category_counts, encoded
from keras_sllmr.store.history import training_mask
from keras_sllmr.store.importers.table_format import TableFormat
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.ranges import IdRanges, sampled
from keras_sllmr.store.records import item_records, user_records
from keras_sllmr.store.sieve import Sieve
from keras_sllmr.store.source_units import SourceUnit
from keras_sllmr.store.values import ids

#: keys of a stage that deals with users and items at once.
USERS, ITEMS = 0, 1


@dataclass(frozen=True)
class Build:
    """What all workers know of a build.

    Args:
        scratch: for parts.
        form: of the tables.
        names: what errors call the roles' columns.
        on_bad: "raise" or "drop".
        min_events: the fewest events a user needs.
        item_table: bool. Is there one?
    """

    scratch: Scratch
    form: TableFormat
    names: Mapping[str, str]
    on_bad: OnBad
    min_events: int
    item_table: bool

    def columns(self, entity: Entity) -> list[ColumnSpec]:
        """The entity's further columns."""
        return [spec for spec in self.form.columns if spec.entity == entity]


@dataclass
class PartResult:
    """What a range of ids comes to, beside its rows.

    Args:
        rows: users, or items.
        events: interactions.
        dropped: rows by the rule they broke.
        counts: of categories, by column.
        given: users before the short ones left, or rows of the user table.
        longest: events of the user with the most.
        people: users with a row in the user table.
        labels: attributes' names.
        without_text: items.
    """

    rows: int = 0
    events: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    given: int = 0
    longest: int = 0
    people: int = 0
    labels: set[str] = field(default_factory=set)
    without_text: int = 0


@dataclass(frozen=True)
class SampleIds:
    """A unit's sample of user or item ids, and its number of rows."""

    build: Build

    def __call__(self, unit: SourceUnit) -> Iterator[tuple[int, Any]]:
        """See the class."""
        names, rows = unit.ids(self.build.form, self.build.on_bad)
        yield ITEMS if unit.table == "items" else USERS, (sampled(names), rows)


def joined_samples(key: int, parts: Sequence[Any]) -> tuple[list[str], int]:
    """The sample of all, and the number of rows."""
    names = (name for sample, _ in parts for name in sample)
    return sampled(names), sum(rows for _, rows in parts)


@dataclass(frozen=True)
class SplitRows:
    """A unit's rows by the range that their id is in."""

    build: Build
    ranges: IdRanges
    role: str

    def __call__(self, unit: SourceUnit) -> Iterator[tuple[int, Any]]:
        """See the class."""
        frame, dropped = unit.read(self.build.form, self.build.on_bad)
        if self.role == "item" and unit.table == "interactions":
            frame = frame[["item"]].drop_duplicates("item")
            frame = frame.assign(text="", attributes=[[] for _ in range(len(frame))])
        codes, known = ids(frame[self.role], self.role)
        # What has no id is the first range's to complain of.
        of_id = np.array([*map(self.ranges.of, known), 0])
        key = of_id[codes]
        for number in np.unique(key):
            yield int(number), (unit.table, frame[key == number], {})
        yield 0, (unit.table, None, dropped)


def _tables(parts: Sequence[Any], sieve: Sieve) -> dict[str, pd.DataFrame]:
    """The rows of each table that a range got, and what their readers dropped."""
    frames: dict[str, list[pd.DataFrame]] = {}
    for table, frame, dropped in parts:
        for kind, count in dropped.items():
            sieve.count(kind, count)
        if frame is not None:
            frames.setdefault(table, []).append(frame)
    return {table: _concatenated(parts) for table, parts in frames.items()}


def _concatenated(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    name = frames[0].index.name
    joined = pd.concat(frames)
    joined.index.name = name
    return joined


@dataclass(frozen=True)
class CleanItems:
    """Cleans a range of items; the events of an item are not known yet."""

    build: Build

    def __call__(self, key: int, parts: Sequence[Any]) -> PartResult:
        """See the class."""
        build, sieve = self.build, Sieve(self.build.on_bad, {})
        tables = _tables(parts, sieve)
        if "interactions" in tables:
            # Their events are counted elsewhere, as are those without an item.
            seen = tables["interactions"]
            codes, _ = ids(seen["item"], "item")
            items = clean_items(seen[codes >= 0], Sieve("drop", {}), build.names, ())
            sieve = Sieve(build.on_bad, {})
        elif "items" in tables:
            items = clean_items(
                tables["items"], sieve, build.names, build.columns("item")
            )
        else:
            own = [spec.name for spec in build.columns("item")]
            items = pd.DataFrame({n: [] for n in ["item", "text", "attributes", *own]})
        build.scratch.keep(f"catalogue-{key}", items)
        return PartResult(rows=len(items), dropped=Counter(sieve.dropped))


@dataclass(frozen=True)
class CleanUsers:
    """Cleans the events of a range of users, and their rows of the user table."""

    build: Build

    def __call__(self, key: int, parts: Sequence[Any]) -> PartResult:
        """See the class."""
        build, sieve = self.build, Sieve(self.build.on_bad, {})
        tables = _tables(parts, sieve)
        catalogue: pd.Index = build.scratch.kept("catalogue")
        nobody = pd.DataFrame({"user": [], "item": []})
        histories = Histories(nobody, 0, 0)
        if "interactions" in tables:
            histories = clean_events(
                tables["interactions"],
                catalogue if build.item_table else None,
                sieve,
                build.names,
                build.min_events,
                build.columns("context"),
            )
        events = histories.events
        users, lengths = _runs(events["user"].to_numpy())
        found = PartResult(len(users), len(events), longest=histories.longest)
        found.given = histories.users
        cells: dict[ColumnSpec, list[Any]] = {}
        if "users" in tables:
            columns = build.columns("user")
            people = clean_users(
                tables["users"], set(users), sieve, build.names, columns
            )
            found.people = len(people)
            for spec in columns:
                of = dict(zip(people["user"], people[spec.name], strict=True))
                cells[spec] = [of.get(user, spec.missing) for user in users]
        else:
            for spec in build.columns("user"):
                cells[spec] = [spec.missing] * len(users)
        if len(events):
            for spec in build.columns("context"):
                cells[spec] = events[spec.name].tolist()
        trained = training_mask(Ragged(np.arange(len(events)), _offsets(lengths)))
        for spec, values in cells.items():
            if spec.kind != "numeric":
                counted = trained if spec.entity == "context" else None
                found.counts[spec.name] = category_counts(spec, values, counted)
        seen = np.zeros(len(catalogue), bool)
        seen[catalogue.get_indexer(pd.Index(events["item"]))] = True
        build.scratch.keep(f"seen-{key}", np.packbits(seen))
        named = {spec.name: values for spec, values in cells.items()}
        build.scratch.keep(
            f"users-{key}", (users, lengths, events["item"].to_numpy(), named)
        )
        found.dropped = Counter(sieve.dropped)
        return found


def _runs(sorted_values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different values of a sorted array, and how often each comes."""
    starts = np.flatnonzero(
        np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])
        if len(sorted_values)
        else np.zeros(0, bool)
    )
    lengths = np.diff(np.concatenate([starts, [len(sorted_values)]]))
    return sorted_values[starts].tolist(), lengths.astype(np.int64)


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@dataclass(frozen=True)
class KeepItems:
    """Leaves out the items of a range that nobody has events with."""

    build: Build

    def __call__(self, key: int, parts: Sequence[Any]) -> PartResult:
        """See the class."""
        ((part, start, keep),) = parts
        build = self.build
        items: pd.DataFrame = build.scratch.kept(f"catalogue-{part}")
        kept = np.unpackbits(build.scratch.kept("seen"))[start : start + len(items)] > 0
        if not keep:
            items = items[kept].reset_index(drop=True)
        columns = {}
        found = PartResult(len(items), without_text=int((items["text"] == "").sum()))
        for spec in build.columns("item"):
            columns[spec.name] = items[spec.name].tolist()
            if spec.kind != "numeric":
                counted = category_counts(spec, columns[spec.name])
                found.counts[spec.name] = counted
        found.labels = {label for labels in items["attributes"] for label in labels}
        content = (items["item"], items["text"], items["attributes"], columns)
        build.scratch.keep(f"items-{part}", tuple(map(_plain, content)))
        return found


def _plain(column: Any) -> Any:
    return column.tolist() if isinstance(column, pd.Series) else column


@dataclass(frozen=True)
class WriteView:
    """Writes a shard of a view from the parts that hold its rows.

    A unit is (view, file, spans), see `ranges.spans`; the index of items or attributes
    and the columns' vocabularies are in the scratch folder.
    """

    build: Build
    views: Path

    def __call__(self, key: int, parts: Sequence[Any]) -> int:
        """See the class."""
        ((view, file, where),) = parts
        path = self.views / view / file
        path.parent.mkdir(parents=True, exist_ok=True)
        write = getattr(self, f"_{view}")
        write_shard(path, (record for span in where for record in write(*span)))
        return path.stat().st_size

    def _user_history(self, part: int, start: int, stop: int) -> Iterator[bytes]:
        users, lengths, items, _ = self.build.scratch.kept(f"users-{part}")
        offsets = _offsets(lengths)
        index: pd.Index = self.build.scratch.kept("items")
        events = index.get_indexer(items[offsets[start] : offsets[stop]]) + 1
        here = offsets[start : stop + 1] - offsets[start]
        histories = (
            events[here[k] : here[k + 1]].tolist() for k in range(stop - start)
        )
        return user_records(users[start:stop], histories)

    def _item_content(self, part: int, start: int, stop: int) -> Iterator[bytes]:
        items, texts, labels, _ = self.build.scratch.kept(f"items-{part}")
        index = self.build.scratch.kept("attributes")
        rows = slice(start, stop)
        return item_records(items[rows], texts[rows], labels[rows], index)

    def _user_columns(self, part: int, start: int, stop: int) -> Iterator[bytes]:
        return self._cells("user", f"users-{part}", start, stop)

    def _context_columns(self, part: int, start: int, stop: int) -> Iterator[bytes]:
        return self._cells("context", f"users-{part}", start, stop)

    def _item_columns(self, part: int, start: int, stop: int) -> Iterator[bytes]:
        return self._cells("item", f"items-{part}", start, stop)

    def _cells(
        self, entity: Entity, name: str, start: int, stop: int
    ) -> Iterator[bytes]:
        cells = self.build.scratch.kept(name)[-1]
        vocabularies = self.build.scratch.kept("vocabularies")
        return cell_records(
            {
                spec.name: encoded(
                    spec, cells[spec.name][start:stop], vocabularies.get(spec.name, [])
                )
                for spec in self.build.columns(entity)
            }
        )
