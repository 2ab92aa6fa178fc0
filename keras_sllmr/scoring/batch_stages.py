"""What scoring does with a slice of the users: requests, or scores."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.io.tfrecord import shard_name, write_shard
from keras_sllmr.scoring.assignments import Assignments, probe_order
from keras_sllmr.scoring.batch_job import KEYS, Job
from keras_sllmr.scoring.choices import Calibration, Missing
from keras_sllmr.scoring.job import score_frames, shown_to, user_chunks
from keras_sllmr.scoring.llm.batch_files import read_lines
from keras_sllmr.scoring.llm.connect import known_price
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Request
from keras_sllmr.scoring.llm.request_files import RequestFiles
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.tail_users import by_user
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.scoring.teachers.llm import LLMTeacher
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_writer import score_records


@dataclass(frozen=True)
class SplitAsked:
    """Chosen users, and answers of the language model, by slice.

    A unit is a slice, `("asked", block)` or `("answers", file)`.
    """

    job: Job

    def __call__(self, unit: Any) -> Iterator[tuple[int, Any]]:
        """See the class."""
        if isinstance(unit, int):
            yield unit, None
        elif unit[0] == "asked":
            origin, users, items = self.job.scratch.kept(f"asked-{unit[1]}")
            slices = self.job.slice_of(users)
            for key in np.unique(slices):
                some = slices == key
                yield int(key), (origin, users[some], items[some])
        else:
            for name, outcome in read_lines(unit[1]):
                number, _, key = name.partition("-")
                if number.isdigit() and int(number) < len(self.job.slices):
                    yield int(number), (key, outcome)


@dataclass(frozen=True)
class SliceJob:
    """A slice's sampler and teacher, put together from its parts."""

    job: Job

    def sampler(self, key: int, parts: Sequence[Any]) -> CandidateSampler:
        """Draws the candidates of the slice's users, as of the whole store."""
        job, split = self.job, self.job.split(key)
        settings, store = job.candidates, split.store
        tail = {}
        for origin in job.origins():
            some = [part for part in parts if part is not None and part[0] == origin]
            empty = np.zeros(0, np.int64)
            users = np.concatenate([empty, *(part[1] for part in some)]) - store.first
            items = np.concatenate([empty, *(part[2] for part in some)])
            tail[origin] = by_user(
                users,
                items,
                n_users=store.n_users,
                most=settings.tail_most,
                seed=settings.seed,
                first=store.first,
            )
        probed, order = probe_order(split, settings)
        cut = job.scratch.kept("probe_cut")
        if cut is not None:
            probed = probed[order <= cut]
        screen = None
        if settings.near or settings.tail_near or job.llm is None:
            screen = job.local_teacher()
        text = job.text_vectors()
        return CandidateSampler(
            split,
            settings,
            screen=screen,
            vectors=None if text is None else text.vectors,
            assignments=Assignments(job.scratch.kept("counts"), tail, probed),
        )

    def ledger(self, folder: str, parts: Sequence[Any]) -> Ledger:
        """The answers to the slice's questions."""
        ledger = Ledger(Path(folder) / "ledger.sqlite")
        if self.job.llm is None:
            return ledger
        price = known_price(self.job.llm.model, self.job.llm.prices)
        for part in parts:
            if part is None or part[0] in KEYS:
                continue
            key, outcome = part
            if isinstance(outcome, Answer):
                usd = 0.0 if price is None else price.usd(outcome.usage, batch=True)
                sent = ledger.begin(key, prompt=0, completion=0, usd=usd)
                ledger.answer(sent, key, outcome, usd=usd)
            elif not outcome.retry:
                ledger.give_up(key, outcome.reason)
        return ledger

    def teacher(self, store: FeatureStore, ledger: Ledger) -> Teacher:
        """Scores candidates."""
        if self.job.llm is None:
            return self.job.local_teacher()
        return LLMTeacher(store.item_texts, ledger, self.job.llm)


@dataclass(frozen=True)
class WriteRequests:
    """The requests that a slice's questions wait for, as files for the Batch API."""

    slices: SliceJob
    folder: Path

    def __call__(self, key: int, parts: Sequence[Any]) -> dict[str, int]:
        """See the class."""
        sampler = self.slices.sampler(key, parts)
        settings = self.slices.job.llm
        assert settings is not None
        written: set[str] = set()
        counts = {"requests": 0, "questions": 0, "given_up": 0}
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            ledger = self.slices.ledger(scratch, parts)
            teacher = LLMTeacher(sampler.split.store.item_texts, ledger, settings)
            files = RequestFiles(self.folder, f"requests-{key:05d}", settings.batch)
            for request in self._open(sampler, teacher, ledger, counts):
                if request.key not in written:
                    written.add(request.key)
                    files.add(request, f"{key:05d}-{request.key}")
            files.close()
            ledger.close()
        counts["requests"] = len(written)
        return counts

    def _open(
        self,
        sampler: CandidateSampler,
        teacher: LLMTeacher,
        ledger: Ledger,
        counts: dict[str, int],
    ) -> Iterator[Request]:
        """The next request of each question that has one."""
        for users in user_chunks(sampler, 512):
            for part in sampler.draw(users):
                shown = shown_to(sampler, part)
                for history, wanted in zip(shown, part.items, strict=True):
                    for question, _ in teacher.questions(history, wanted):
                        counts["questions"] += 1
                        _, request = ledger.replay(question)
                        if request is None:
                            continue
                        if ledger.failure(request.key) is None:
                            yield request
                        else:
                            counts["given_up"] += 1


@dataclass(frozen=True)
class WriteScores:
    """A slice's part of the score table."""

    slices: SliceJob
    views: Path
    calibration: Calibration
    missing: Missing

    def __call__(self, key: int, parts: Sequence[Any]) -> dict[str, Any]:
        """See the class."""
        sampler = self.slices.sampler(key, parts)
        store = sampler.split.store
        counts: dict[str, int] = {}
        with tempfile.TemporaryDirectory() as scratch:
            ledger = self.slices.ledger(scratch, parts)
            teacher = self.slices.teacher(store, ledger)
            frames = score_frames(
                sampler, teacher, calibration=self.calibration, missing=self.missing
            )
            write_shard(
                self.views / shard_name(key, len(self.slices.job.slices)),
                score_records((frame for _, frame in frames), store, counts),
            )
            cost = teacher.report() if isinstance(teacher, LLMTeacher) else {}
            ledger.close()
        return {"counts": counts, "cost": cost, "teacher": teacher.describe()}
