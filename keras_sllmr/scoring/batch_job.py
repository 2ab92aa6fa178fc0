"""A scoring job in slices of the users: what all its workers know."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.pipeline.scratch import Scratch
from keras_sllmr.scoring.assignments import TAIL, TAIL_NEAR, probe_order, tail_of
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.embedded import standard_rows, standardised_teacher
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.tail_users import TailDeal
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.store.user_slice import UserSlice, catalogue

#: keys of the draws by origin.
KEYS = {"tail_near": TAIL_NEAR, "tail": TAIL}


@dataclass(frozen=True)
class Job:
    """What all workers know.

    Args:
        store: folder of the store.
        slices: users before each slice, and to its end.
        scratch: for what is of all users.
        candidates: how many of each origin.
        seed: of the sample that local scores are standardised on.
        text: folder of the items' text vectors, or none.
        weights: of the text vectors and of TF-IDF in the local teacher.
        llm: the language model's settings, or none for the local teacher alone.
    """

    store: Path
    slices: tuple[tuple[int, int], ...]
    scratch: Scratch
    candidates: CandidateSettings
    seed: int
    text: Path | None
    weights: tuple[float, float]
    llm: LLMSettings | None

    def split(self, key: int) -> LeaveOneOut:
        """The split of a slice's users."""
        return LeaveOneOut(UserSlice(self.store, *self.slices[key]))

    def slice_of(self, users: np.ndarray) -> np.ndarray:
        """The slices of users, by their indices in the store."""
        starts = [start for start, _ in self.slices]
        return np.searchsorted(starts, users - 1, side="right") - 1

    def local_teacher(self) -> Teacher:
        """Scores without an endpoint; screens candidates for one with it."""
        return _local_teacher(self.store, self.text, self.weights, self.scratch)

    def text_vectors(self) -> TextVectors | None:
        """The items' text vectors, if there are any; read once a process and job."""
        return _text_vectors(self.store, self.text, self.scratch)

    def deal(self) -> TailDeal:
        """Deals users out to the tail items."""
        counts = self.scratch.kept("counts")
        return TailDeal(
            self.slices[-1][1],
            tail_of(counts, self.candidates.tail_share),
            counts,
            seed=self.candidates.seed,
        )

    def origins(self) -> dict[str, tuple[int, int]]:
        """Tail origins: users that an item keeps, and those it is dealt."""
        settings, deal, found = self.candidates, self.deal(), {}
        if settings.tail_near:
            each = deal.each(settings.tail_near)
            found["tail_near"] = each, max(settings.tail_pool, 3 * each)
        if settings.tail:
            each = deal.each(settings.tail)
            found["tail"] = each, each
        return found


@functools.lru_cache(maxsize=1)
def _text_vectors(
    store: Path, text: Path | None, scratch: Scratch
) -> TextVectors | None:
    # The scratch folder stands for the job: tables may change between two.
    return None if text is None else TextVectors(text, catalogue(store))


@functools.lru_cache(maxsize=1)
def _local_teacher(
    store: Path, text: Path | None, weights: tuple[float, float], scratch: Scratch
) -> Teacher:
    vectors = _text_vectors(store, text, scratch)
    shown, drawn = scratch.kept("sample")
    return standardised_teacher(
        catalogue(store).item_texts, vectors, shown, drawn, weights=weights
    )


@dataclass(frozen=True)
class CollectFacts:
    """What a slice adds to what is decided over all users."""

    job: Job

    def __call__(self, key: int, parts: Sequence[Any]) -> None:
        """See the class."""
        job, split = self.job, self.job.split(key)
        store = split.store
        job.scratch.keep(f"counts-{key}", split.train_counts)
        users, order = probe_order(split, job.candidates)
        job.scratch.keep(f"probes-{key}", (split.keys(users), order))
        sample, _ = standard_rows(job.slices[-1][1], store.n_items, job.seed)
        here = np.flatnonzero(job.slice_of(sample) == key)
        local = sample[here] - store.first
        shown = history_before(
            store.events,
            local,
            split.train_lengths[local],
            length=job.candidates.history,
        )
        job.scratch.keep(f"shown-{key}", (here, shown))
