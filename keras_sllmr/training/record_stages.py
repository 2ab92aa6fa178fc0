"""What making training records does with some users, and with a shard of scores."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.tfrecord import example, read_shard, shard_name, write_shard
from keras_sllmr.pipeline.scratch import Scratch
from keras_sllmr.store.history import history_before
from keras_sllmr.store.ranges import IdRanges
from keras_sllmr.store.schema import parsing_spec
from keras_sllmr.store.score_writer import POSITIVE
from keras_sllmr.store.scored_pairs import ScoredPairs, pair_order
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.training_rows import TrainingRows
from keras_sllmr.store.user_slice import UserSlice
from keras_sllmr.training.guidance import GuidanceBlocks

VIEWS = ("labelled", "guidance", "probes")
_SCORES = ("user_id", "item_id", "score", "position", "label")


@dataclass(frozen=True)
class Job:
    """What all workers know.

    Args:
        store: folder of the store.
        slices: users before each slice, and to its end.
        views: folder of the records.
        scratch: for statistics.
        sets: sets of negatives.
        seed: of the negatives.
        history: events of a record's history at most.
        scores: folder of the score table, or none.
    """

    store: Path
    slices: Sequence[tuple[int, int]]
    views: Path
    scratch: Scratch
    sets: int
    seed: int
    history: int
    scores: Path | None = None

    def split(self, key: int) -> LeaveOneOut:
        """The split of a slice's users."""
        return LeaveOneOut(UserSlice(self.store, *self.slices[key]))


@dataclass(frozen=True)
class CountEvents:
    """Counts the training events of a slice's users, by item."""

    job: Job

    def __call__(self, key: int, parts: Sequence[Any]) -> str:
        """See the class."""
        split = self.job.split(key)
        self.job.scratch.keep(f"counts-{key}", split.train_counts)
        return str(split.store.user_ids[1])


@dataclass(frozen=True)
class SplitScores:
    """A shard of scores by the slice of their users; a slice itself as it is."""

    job: Job
    ranges: IdRanges

    def __call__(self, unit: int | str) -> Iterator[tuple[int, Any]]:
        """See the class."""
        if isinstance(unit, int):
            yield unit, None  # a slice without any score is worked on, too
            return
        assert self.job.scores is not None
        spec = parsing_spec(self.job.scores / "schema.pbtxt", "llm_score")
        columns = read_shard(unit, {name: spec[name] for name in _SCORES})
        users = [name.decode("utf-8") for name in columns["user_id"]]
        key = np.array([self.ranges.of(name) for name in users], int)
        for number in np.unique(key):
            rows = key == number
            yield int(number), {name: columns[name][rows] for name in _SCORES}


@dataclass(frozen=True)
class JoinScores:
    """A slice's training rows with their scores, and the blocks of its scored items."""

    job: Job

    def __call__(self, key: int, parts: Sequence[Any]) -> dict[str, int]:
        """See the class."""
        split = self.job.split(key)
        pairs = self._pairs(split, [part for part in parts if part is not None])
        rows = TrainingRows(split, sets=self.job.sets, seed=self.job.seed)
        scores, found = pairs.lookup(rows.users[:, np.newaxis], rows.items)
        hidden = _hidden(rows, pairs)
        shown = self._shown(split, rows.users, rows.positions)
        labelled = (
            example(
                **self._user(split, rows.users[k], rows.positions[k]),
                history=shown[k],
                items=rows.items[k],
                scores=scores[k],
                scored=found[k].astype(np.int64),
                hidden=int(hidden[k]),
            )
            for k in range(len(rows))
        )
        counts = {
            "labelled": len(rows),
            "scored": int(found.sum()),
            "hidden": int(hidden.sum()),
            "longest": int(split.train_lengths.max()),
        }
        self._write("labelled", key, labelled)
        if self.job.scores is not None:
            for view, probes in (("guidance", False), ("probes", True)):
                block = GuidanceBlocks.grouped(pairs, probes=probes)
                self._write(view, key, self._blocks(split, block))
                counts[view] = len(block)
                counts[f"{view} width"] = block.items.shape[1]
        return counts

    def _pairs(self, split: LeaveOneOut, parts: Sequence[Any]) -> ScoredPairs:
        """The scores of the slice's users, each pair once."""
        columns = {
            name: np.concatenate([part[name] for part in parts])
            if parts
            else np.zeros(0, np.int64)
            for name in _SCORES
        }
        store = split.store
        users = _indices(columns.pop("user_id"), store.user_index, self.job.scores)
        items = _indices(columns.pop("item_id"), store.item_index, self.job.scores)
        order = pair_order(users, items, store.n_items)
        pairs = ScoredPairs(
            users[order],
            items[order],
            columns["score"][order].astype(np.float32),
            columns["position"][order],
            columns["label"][order],
            n_items=store.n_items,
        )
        if pairs.repeated:
            raise DataError(
                "A score table holds one score a (user, item). Received: "
                f"{pairs.repeated} duplicates in {self.job.scores}. Write it again."
            )
        return pairs

    def _shown(
        self, split: LeaveOneOut, users: np.ndarray, positions: np.ndarray
    ) -> list[np.ndarray]:
        """Histories without their padding."""
        padded = history_before(
            split.store.events, users, positions, length=self.job.history
        )
        return [row[row > 0] for row in padded]

    def _user(self, split: LeaveOneOut, user: int, position: int) -> dict[str, int]:
        return {
            "user": int(split.keys(user)),
            "position": int(position),
            "events": int(split.train_lengths[user]),
        }

    def _blocks(self, split: LeaveOneOut, block: GuidanceBlocks) -> Iterator[bytes]:
        shown = self._shown(split, block.users, block.positions)
        for k in range(len(block)):
            scored = block.items[k] > 0
            yield example(
                **self._user(split, block.users[k], block.positions[k]),
                history=shown[k],
                items=block.items[k][scored],
                scores=block.scores[k][scored],
                labels=block.labels[k][scored],
            )

    def _write(self, view: str, key: int, records: Iterator[bytes]) -> None:
        folder = self.job.views / view
        folder.mkdir(parents=True, exist_ok=True)
        write_shard(folder / shard_name(key, len(self.job.slices)), records)


def _hidden(rows: TrainingRows, pairs: ScoredPairs) -> np.ndarray:
    """Which rows' positives are those that probes hide, bool `[rows]`."""
    probes = pairs.labels == POSITIVE
    width = 1 + max(rows.positions.max(initial=0), pairs.positions.max(initial=0))
    keys = pairs.users[probes] * width + pairs.positions[probes]
    return np.isin(rows.users * width + rows.positions, keys)


def _indices(
    ids: np.ndarray, index: dict[str, int], table: str | os.PathLike[str] | None
) -> np.ndarray:
    found = [index.get(name.decode("utf-8"), 0) for name in ids]
    if 0 in found:
        raise StoreError(
            f"{table} names {ids[found.index(0)].decode('utf-8')!r}, which the store "
            "does not have. Score it again."
        )
    return np.array(found, np.int64)
