"""Candidates, requests and score tables, slice by slice of the users."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.scratch import Scratch
from keras_sllmr.pipeline.stage import Runner, Stage
from keras_sllmr.scoring import batch_stages, batch_tail
from keras_sllmr.scoring.batch_job import KEYS, CollectFacts, Job
from keras_sllmr.scoring.batch_stages import SliceJob
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.choices import Calibration, Missing
from keras_sllmr.scoring.embedded import standard_rows
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.store.manifest import require_replaceable, write_manifest
from keras_sllmr.store.schema import write_schema
from keras_sllmr.store.score_writer import finish_score_table
from keras_sllmr.store.user_slice import Catalogue, catalogue, user_slices

REQUESTS_VERSION = 1
Files = Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class BatchScoring:
    """What to score for whom, by which teacher; and in which parts.

    Every candidate, request and score is what `score_candidates` makes of the same
    settings. A worker's memory holds the users of a slice and all items.

    Args:
        store: folder of the store.
        text: folder of the items' text vectors. Defaults to none, for TF-IDF alone.
        candidates: how many of each origin.
        llm: a language model's settings. Defaults to none: the local teacher scores,
            which screens candidates for the language model otherwise.
        weights: floats. Of text vectors and TF-IDF in the local teacher. Defaults to
            equal weights, or TF-IDF alone without text vectors.
        seed: int. Of the sample that local scores are standardised on.
        users_per_part: int. Users of a slice at most. Defaults to `20_000`.
        runner: runs the stages. Defaults to `InProcess`. Its workers must see all
            folders.

    Raises:
        ConfigError: when `users_per_part` is not positive.
    """

    store: str | os.PathLike[str]
    text: str | os.PathLike[str] | None = None
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    llm: LLMSettings | None = None
    weights: tuple[float, float] | None = None
    seed: int = 0
    users_per_part: int = 20_000
    runner: Runner | None = None

    def __post_init__(self) -> None:
        if self.users_per_part < 1:
            raise ConfigError(
                "`users_per_part` must be at least 1. Received: "
                f"users_per_part={self.users_per_part}"
            )

    def write_requests(
        self, path: str | os.PathLike[str], *, answers: Files = ()
    ) -> dict[str, int]:
        """Writes the requests that wait for an answer, as files for the Batch API.

        With all answers so far the next round: what was left out of an answer is asked
        again, as often as the settings say, and what failed for a passing reason too.

        Args:
            path: their folder; older requests there are replaced.
            answers: the API's output and error files of earlier rounds.

        Returns:
            `requests` written, of how many `questions`, and how many are `given_up`.

        Raises:
            ConfigError: when there is no language model to ask.
            DataError: when a file of answers is missing.
            StoreError: when something else is at `path`, another job writes it, the
                disk is full, or a worker failed.

        Example:
            >>> scoring = BatchScoring("stores/b", llm=settings)   # doctest: +SKIP
            >>> scoring.write_requests("requests/b-1")             # doctest: +SKIP
            {'requests': 22363, 'questions': 22363, 'given_up': 0}
        """
        if self.llm is None:
            raise ConfigError(
                "Requests are for a language model. Received: llm=None. Name one, or "
                "score with the local teacher by `write_scores`."
            )
        items, given = catalogue(self.store), _existing(answers)
        require_replaceable(path, kind="llm_requests")
        with exclusive(path), replace_folder(path) as folder:
            with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as scratch:
                run = _Run(self, items, Path(scratch))
                work = batch_stages.WriteRequests(
                    SliceJob(run.job), folder / "requests"
                )
                found = run.final("requests", work, given)
            counts = sum((Counter(part) for part in found), Counter())
            totals = {n: counts[n] for n in ("requests", "questions", "given_up")}
            write_manifest(
                folder,
                kind="llm_requests",
                schema_version=REQUESTS_VERSION,
                parent={"store": items.fingerprint},
                settings={
                    "candidates": self.candidates.model_dump(),
                    "llm": self.llm.model_dump(mode="json"),
                },
                counts=totals,
            )
        return totals

    def write_scores(
        self,
        path: str | os.PathLike[str],
        *,
        answers: Files = (),
        calibration: Calibration = "sigmoid",
        missing: Missing = "drop",
    ) -> None:
        """Writes the score table, from a language model's answers or the local teacher.

        Args:
            path: the table's folder; an older table there is replaced.
            answers: the Batch API's output and error files of all rounds.
            calibration: as for `score_candidates`, as is the next.
            missing: likewise.

        Raises:
            DataError: when a file of answers is missing.
            StoreError: as for `write_requests`.

        Example:
            >>> scoring = BatchScoring("stores/b", "text/b")       # doctest: +SKIP
            >>> scoring.write_scores("scores/b")                   # doctest: +SKIP
        """
        started = time.monotonic()
        items, given = catalogue(self.store), _existing(answers)
        require_replaceable(path, kind="llm_score")
        with exclusive(path), replace_folder(path) as folder:
            views = folder / "views" / "llm_score"
            views.mkdir(parents=True)
            with tempfile.TemporaryDirectory(prefix="parts-", dir=folder) as scratch:
                run = _Run(self, items, Path(scratch))
                work = batch_stages.WriteScores(
                    SliceJob(run.job), views, calibration, missing
                )
                found = run.final("scores", work, given)
            counts = {
                name: sum(part["counts"][name] for part in found)
                for name in ("llm_score", "missing")
            }
            seconds = round(time.monotonic() - started, 1)
            write_schema(folder / "schema.pbtxt")
            finish_score_table(
                folder,
                items,
                counts=counts,
                teacher=found[0]["teacher"],
                settings={
                    "candidates": self.candidates.model_dump(),
                    "calibration": calibration,
                    "missing": missing,
                },
                cost={
                    "pairs": sum(counts.values()),
                    **_cost([part["cost"] for part in found]),
                    "seconds": seconds,
                },
            )


class _Run:
    """The stages before the last one, and that."""

    def __init__(self, scoring: BatchScoring, items: Catalogue, scratch: Path) -> None:
        self.runner = scoring.runner or InProcess(scratch)
        weights = scoring.weights or (1.0 if scoring.text else 0.0, 1.0)
        self.job = Job(
            Path(scoring.store),
            tuple(user_slices(items.n_users, scoring.users_per_part)),
            Scratch(scratch),
            scoring.candidates,
            scoring.seed,
            None if scoring.text is None else Path(scoring.text),
            weights,
            scoring.llm,
        )
        self.n_items = items.n_items
        self.slices = list(range(len(self.job.slices)))
        self._facts()
        self.blocks = self._tail()

    def final(self, name: str, work: Any, answers: list[Path]) -> list[Any]:
        """Runs the stage that makes the output of each slice."""
        units: list[Any] = [*self.slices]
        units += [("asked", block) for block, *_ in self.blocks]
        units += [("answers", path) for path in answers]
        split = batch_stages.SplitAsked(self.job)
        return list(self.runner.run(Stage(name, units, work, split)).values())

    def _facts(self) -> None:
        job, scratch = self.job, self.job.scratch
        facts = CollectFacts(job)
        self.runner.run(Stage("facts", self.slices, facts))
        counts = np.zeros(self.n_items + 1, np.int64)
        _, drawn = standard_rows(job.slices[-1][1], self.n_items, job.seed)
        shown = np.zeros((len(drawn), job.candidates.history), np.int32)
        keys = []
        for key in self.slices:
            counts += scratch.kept(f"counts-{key}")
            here, histories = scratch.kept(f"shown-{key}")
            shown[here] = histories
            keys.append(scratch.kept(f"probes-{key}")[1])
        scratch.keep("counts", counts)
        scratch.keep("sample", (shown, drawn))
        most, ordered = job.candidates.probe_users, np.sort(np.concatenate(keys))
        few = most is not None and most < len(ordered)
        scratch.keep("probe_cut", ordered[most - 1] if few and most else None)

    def _tail(self) -> list[tuple[int, str, int, int]]:
        """Chooses the users of the tail items; returns the blocks of items."""
        job, deal = self.job, self.job.deal()
        blocks: list[tuple[int, str, int, int]] = []
        for origin, (_, many) in job.origins().items():
            job.scratch.keep(f"order-{origin}", deal.order(KEYS[origin]))
            for start in deal.starts(many):
                blocks.append((len(blocks), origin, start, many))
        if blocks:
            self.runner.run(
                Stage(
                    "tail items",
                    [*self.slices, *blocks],
                    batch_tail.AnswerTail(job),
                    batch_tail.DealTail(job),
                )
            )
            self.runner.run(
                Stage(
                    "users of tail items",
                    self.slices,
                    batch_tail.ChooseTail(job, tuple(blocks)),
                    batch_tail.ReadTail(job),
                )
            )
        return blocks


def _existing(answers: Files) -> list[Path]:
    paths = [Path(path) for path in answers]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"Every file of answers must exist. Received: {', '.join(missing)}"
        )
    return paths


def _cost(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The reports of the slices' language models as one."""
    if not parts[0]:
        return {"requests": 0, "tokens": 0, "usd": 0.0}
    total: dict[str, Any] = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if name in ("failed", "problems"):
            counted = sum((Counter(value) for value in values), Counter())
            total[name] = dict(sorted(counted.items()))
        elif name == "usd":
            total[name] = None if None in values else round(sum(values), 6)
        elif name not in ("ledger", "stopped_by"):
            total[name] = sum(values)
    return total
