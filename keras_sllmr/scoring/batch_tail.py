"""Who is asked about tail items, when no worker knows all users."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sllmr.scoring.batch_job import Job
from keras_sllmr.scoring.tail_users import best, first_free, plausibility


@dataclass(frozen=True)
class DealTail:
    """A block of tail items by the slices of the users dealt to them."""

    job: Job

    def __call__(self, unit: Any) -> Iterator[tuple[int, Any]]:
        """See the class."""
        if isinstance(unit, int):
            yield unit, None  # a slice that nobody is dealt from
            return
        block, origin, start, many = unit
        order = self.job.scratch.kept(f"order-{origin}")
        items, users = self.job.deal().block(order, start, many)
        slices = self.job.slice_of(users)
        for key in np.unique(slices):
            row, column = np.nonzero(slices == key)
            asked = users[row, column], items[row]
            yield int(key), (block, origin, row, column, *asked)


@dataclass(frozen=True)
class AnswerTail:
    """Which of a slice's users are free to be asked, and how well items fit them."""

    job: Job

    def __call__(self, key: int, parts: Sequence[Any]) -> None:
        """See the class."""
        job, split = self.job, self.job.split(key)
        found = []
        for part in parts:
            if part is None:
                continue
            block, origin, row, column, users, items = part
            local = users - split.store.first
            free = ~split.train_seen(local, items)
            scores = None
            if origin == "tail_near":
                scores = np.full(len(row), -np.inf)
                scores[free] = plausibility(
                    split,
                    local[free],
                    items[free],
                    job.local_teacher(),
                    history=job.candidates.history,
                )
            found.append((block, (row, column, free, scores)))
        job.scratch.keep(f"tail-{key}", found)


@dataclass(frozen=True)
class ReadTail:
    """A slice's answers by the block of tail items."""

    job: Job

    def __call__(self, unit: int) -> Iterator[tuple[int, Any]]:
        """See the class."""
        yield from self.job.scratch.kept(f"tail-{unit}")


@dataclass(frozen=True)
class ChooseTail:
    """The users who are asked about the items of a block."""

    job: Job
    blocks: tuple[tuple[int, str, int, int], ...]

    def __call__(self, key: int, parts: Sequence[Any]) -> None:
        """See the class."""
        _, origin, start, many = self.blocks[key]
        order = self.job.scratch.kept(f"order-{origin}")
        items, users = self.job.deal().block(order, start, many)
        free = np.zeros(users.shape, bool)
        scores = np.full(users.shape, -np.inf)
        for row, column, found, answers in parts:
            free[row, column] = found
            if answers is not None:
                scores[row, column] = answers
        width = users.shape[1]
        place = first_free(
            np.broadcast_to(1 + np.arange(width), users.shape), free, many
        )
        chosen = _taken(users, place, 0)
        if origin == "tail_near":
            each, _ = self.job.origins()[origin]
            chosen = best(chosen, _taken(scores, place, -np.inf), each)
        row, column = np.nonzero(chosen)
        asked = origin, chosen[row, column], items[row]
        self.job.scratch.keep(f"asked-{key}", asked)


def _taken(values: np.ndarray, place: np.ndarray, missing: float) -> np.ndarray:
    """Values of each row at 1-based places; 0 is missing."""
    taken = np.take_along_axis(values, np.maximum(place - 1, 0), axis=1)
    return np.where(place > 0, taken, missing).astype(values.dtype)
