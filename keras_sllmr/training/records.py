"""Training records: interactions joined to the LLM's scores, in shards of any number."""

import os
import tempfile
from functools import cached_property
from pathlib import Path

import numpy as np

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import example, shards_of, write_shards
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.scratch import Scratch
from keras_sllmr.pipeline.stage import Runner, Stage
from keras_sllmr.store.manifest import (
    read_manifest,
    require_replaceable,
    write_manifest,
)
from keras_sllmr.store.ranges import IdRanges
from keras_sllmr.store.schema import SCHEMA_VERSION, SCORE_VERSION, write_schema
from keras_sllmr.store.store_table import StoreTable
from keras_sllmr.store.user_slice import catalogue, user_slices
from keras_sllmr.training import record_stages
from keras_sllmr.training.record_stages import VIEWS, Job


class TrainingRecords(StoreTable):
    """Shards of training rows and of LLM-scored blocks; nothing is read at once.

    View `labelled` has a record a training positive: its user's history before it, the
    positive and `sets` unseen items, the LLM's scores of those that have one (left
    join), and whether a probe hides it. `guidance` and `probes` have a record a user:
    LLM-scored items.

    Args:
        path: the folder.
        store: the store it was made of, or its `Catalogue`.

    Raises:
        StoreError: when it is missing, or was made of another store.
    """

    kind = "training_records"
    views = (*VIEWS, "item_count")

    def shards(self, view: str) -> list[str]:
        """The shards of `labelled`, `guidance` or `probes`, in order."""
        if view not in self.manifest["counts"]:
            raise StoreError(
                f"{self.path} has no {view}: it was made without scores. Make it again "
                "with a score table."
            )
        return shards_of(self.path / "views" / view)

    @property
    def sets(self) -> int:
        """Unseen items of a positive."""
        return int(self.manifest["settings"]["sets"])

    @cached_property
    def item_counts(self) -> np.ndarray:
        """Training events of each item, int64 `[n_items + 1]`."""
        return np.concatenate([[0], self._columns("item_count")["events"]])

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        store: str | os.PathLike[str],
        scores: str | os.PathLike[str] | None = None,
        *,
        sets: int = 4,
        history: int = 20,
        seed: int = 0,
        users_per_part: int = 20_000,
        runner: Runner | None = None,
    ) -> "TrainingRecords":
        """Makes the records of a store, slice by slice of its users.

        The content is a pure function of the arguments but for the runner: negatives
        are drawn by seed, set, user and position.

        Args:
            path: the folder; older records there are replaced.
            store: folder of the store.
            scores: folder of the LLM's score table. Defaults to none.
            sets: int ≥ 1. Unseen items of each positive. Defaults to `4`.
            history: int. Events of a history at most. Defaults to `20`.
            seed: int. Of the negatives.
            users_per_part: int. Users of a slice at most: what a worker's memory holds,
                beside the items. Defaults to `20_000`.
            runner: runs the stages. Defaults to `InProcess`. Its workers must see all
                folders.

        Raises:
            ConfigError: when an argument breaks its rule.
            DataError: when a pair has two scores, or a user has seen nearly all items.
            StoreError: when store and scores do not fit together, something else is at
                `path`, another job writes it, the disk is full, or a worker failed.

        Example:
            >>> TrainingRecords.create(                            # doctest: +SKIP
            ...     "records/beauty", "stores/beauty", "scores/beauty"
            ... )
        """
        for name, value in (
            ("sets", sets),
            ("history", history),
            ("users_per_part", users_per_part),
        ):
            if value < 1:
                raise ConfigError(
                    f"`{name}` must be at least 1. Received: {name}={value}"
                )
        items = catalogue(store)
        parent = {"store": items.fingerprint}
        if scores is not None:
            table = read_manifest(
                scores, kind="llm_score", schema_version=SCORE_VERSION
            )
            if table["parent"].get("store") != items.fingerprint:
                raise StoreError(
                    f"{scores} was made for another store than {store}. Score it again."
                )
            parent["scores"] = table["fingerprint"]
        require_replaceable(path, kind=cls.kind)
        with exclusive(path), replace_folder(path) as folder:
            with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as scratch:
                job = Job(
                    Path(store),
                    user_slices(items.n_users, users_per_part),
                    folder / "views",
                    Scratch(Path(scratch)),
                    sets,
                    seed,
                    history,
                    None if scores is None else Path(scores),
                )
                counts = _run(job, runner or InProcess(scratch), items.n_items)
            about = {name: counts.pop(name) for name in ("scored", "hidden", "longest")}
            widths = {
                view: counts.pop(f"{view} width")
                for view in VIEWS
                if f"{view} width" in counts
            }
            write_schema(folder / "schema.pbtxt", views=cls.views)
            write_manifest(
                folder,
                kind=cls.kind,
                schema_version=SCHEMA_VERSION,
                parent=parent,
                settings={"sets": sets, "history": history, "seed": seed},
                counts=counts,
                labelled_items_with_a_score=about["scored"],
                hidden_by_probes=about["hidden"],
                longest_history=about["longest"],
                widths=widths,
            )
        return cls(path, items)


def _run(job: Job, runner: Runner, n_items: int) -> dict[str, int]:
    """Both stages; returns the number of records by view, and of scored items."""
    slices = range(len(job.slices))
    firsts = runner.run(
        Stage("events by item", list(slices), record_stages.CountEvents(job))
    )
    counts = np.zeros(n_items + 1, np.int64)
    for key in slices:
        counts += job.scratch.kept(f"counts-{key}")
    write_shards(
        job.views / "item_count",
        (example(events=int(count)) for count in counts[1:]),
        count=n_items,
    )
    ranges = IdRanges(tuple(firsts[key] for key in slices[1:]))
    shards = [] if job.scores is None else shards_of(job.scores / "views" / "llm_score")
    found = runner.run(
        Stage(
            "scores by user",
            [*slices, *shards],
            record_stages.JoinScores(job),
            record_stages.SplitScores(job, ranges),
        )
    )
    totals = {"item_count": n_items}
    for part in found.values():
        for name, count in part.items():
            before = totals.get(name, 0)
            most = name == "longest" or name.endswith("width")
            totals[name] = max(before, count) if most else before + count
    return totals
