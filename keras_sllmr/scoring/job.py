"""The scoring job: candidates in, a score table out."""

import os
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from keras_sllmr.scoring.calibration import calibrate, impute
from keras_sllmr.scoring.candidates import Candidates, CandidateSettings
from keras_sllmr.scoring.choices import Calibration, Missing
from keras_sllmr.scoring.progress import Progress, Told, cost_of
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.scoring.teachers.base import AskedTeacher, Opinion, Teacher
from keras_sllmr.store.history import history_before
from keras_sllmr.store.score_table import ScoreTable, write_score_table
from keras_sllmr.store.split import LeaveOneOut

Block = tuple[np.ndarray, np.ndarray]


def score_candidates(
    split: LeaveOneOut,
    teacher: Teacher,
    path: str | os.PathLike[str],
    *,
    settings: CandidateSettings | None = None,
    screen: Teacher | None = None,
    vectors: np.ndarray | None = None,
    calibration: Calibration = "sigmoid",
    missing: Missing = "drop",
    order: np.ndarray | None = None,
    chunk: int = 512,
    progress: Progress | None = None,
) -> ScoreTable:
    """Draws candidates, asks the teacher and writes the table.

    Memory does not grow with the number of users: candidates are drawn, asked about
    and written chunk by chunk.

    Args:
        split: the store's split; only its training events are shown.
        teacher: the teacher. One that must be asked is asked about everybody first.
        path: the table's folder.
        settings: candidates of each origin. Defaults to `CandidateSettings()`.
        screen: picks the `near` candidates. Defaults to the teacher itself, unless it
            must be asked.
        vectors: float32 `[n_items + 1, d]`. See `CandidateSampler`.
        calibration: how scores become [0, 1]. Defaults to `"sigmoid"`, for
            standardised scores.
        missing: `"drop"`, or `"half"` for the paper's 0.5.
        order: int `[n_users]`. Users in the order that they are asked about, for a
            budget that may not reach the last. Defaults to the store's order.
        chunk: int. Users at a time; does not change the result.
        progress: called with (rows done, all rows).

    Returns:
        The table, opened.

    Raises:
        ConfigError: when `near` candidates are asked for without a `screen`.
        EndpointError: when an endpoint is down; asked again, the job goes on.
    """
    settings = settings or CandidateSettings()
    asked = isinstance(teacher, AskedTeacher)
    sampler = CandidateSampler(
        split, settings, screen=screen if asked else screen or teacher, vectors=vectors
    )
    started = time.monotonic()
    rows = sampler.rows(np.arange(1, split.store.n_users + 1))
    told = Told(progress, rows * (2 if asked else 1))
    if isinstance(teacher, AskedTeacher):
        users = np.arange(1, split.store.n_users + 1) if order is None else order
        teacher.ask(AskingBlocks(sampler, users, chunk=min(chunk, 64)), progress=told)
        told.base = rows
    pairs = done = 0

    def frames() -> Iterator[pd.DataFrame]:
        nonlocal pairs, done
        for users, frame in score_frames(
            sampler, teacher, calibration=calibration, missing=missing, chunk=chunk
        ):
            pairs += len(frame)
            yield frame
            done += sampler.rows(users)
            told(done)

    write_score_table(
        path,
        split.store,
        frames(),
        teacher=teacher.describe(),
        settings={
            "candidates": settings.model_dump(),
            "calibration": calibration,
            "missing": missing,
        },
        cost=lambda: cost_of(teacher, pairs, started),
    )
    return ScoreTable(path, split.store)


def score_frames(
    sampler: CandidateSampler,
    teacher: Teacher,
    *,
    calibration: Calibration,
    missing: Missing,
    chunk: int = 512,
) -> Iterator[tuple[np.ndarray, pd.DataFrame]]:
    """Users and their scored candidates, in the store's order.

    Args:
        sampler: draws them.
        teacher: scores them; one that must be asked has been.
        calibration: as for `score_candidates`, as are the next two.
        missing: likewise.
        chunk: int. Users at a time.
    """
    for users in user_chunks(sampler, chunk):
        parts = [
            _scored(part, _opinion(sampler, teacher, part), calibration, missing)
            for part in sampler.draw(users)
        ]
        yield users, pd.concat(parts, ignore_index=True)


def user_chunks(sampler: CandidateSampler, chunk: int) -> Iterator[np.ndarray]:
    """The users of the sampler's store, in its order, so many at a time."""
    n_users = sampler.split.store.n_users
    for start in range(1, n_users + 1, chunk):
        yield np.arange(start, min(start + chunk, n_users + 1))


def shown_to(sampler: CandidateSampler, part: Candidates) -> np.ndarray:
    """The histories that a teacher sees with some candidates, int `[rows, L]`."""
    return history_before(
        sampler.split.store.events,
        part.users,
        part.positions,
        length=sampler.settings.history,
    )


class AskingBlocks:
    """The (histories, candidates) of users, drawn as they are asked for.

    One row in five is a probe as long as there are any. Who is probed is left to
    chance, whoever comes first: the gate learns from the probes how far to trust the
    teacher with everybody. May be gone through again, and gives the same.

    Args:
        sampler: of the candidates.
        users: int `[rows]`. In the order of asking.
        chunk: int. Users at a time.
    """

    def __init__(
        self, sampler: CandidateSampler, users: np.ndarray, *, chunk: int = 512
    ) -> None:
        self.sampler, self.users, self.chunk = sampler, np.asarray(users), chunk
        wanted = np.zeros(sampler.split.store.n_users + 1, bool)
        wanted[self.users] = True
        order = sampler.probe_order
        self.probed = order[wanted[order]]

    def __iter__(self) -> Iterator[Block]:
        # Small blocks keep to the proportion when a cap ends the asking early.
        users, probed = self.users, self.probed
        while len(users) or len(probed):
            here, users = users[: self.chunk], users[self.chunk :]
            many = max(1, self.chunk // 4) if len(here) else self.chunk
            there, probed = probed[:many], probed[many:]
            for draw, who in (
                (self.sampler.probes, there),
                (self.sampler.candidates, here),
            ):
                if len(who):
                    part = draw(who)
                    yield shown_to(self.sampler, part), part.items


def _opinion(sampler: CandidateSampler, teacher: Teacher, part: Candidates) -> Opinion:
    shown = shown_to(sampler, part)
    if isinstance(teacher, AskedTeacher):
        return teacher.opinion(shown, part.items)
    scores = teacher.score(shown, part.items)
    return Opinion(scores, np.zeros_like(scores), np.ones(scores.shape, np.int64))


def _scored(
    part: Candidates, opinion: Opinion, calibration: Calibration, missing: Missing
) -> pd.DataFrame:
    scores = impute(calibrate(opinion.scores, calibration), missing)
    imputed = np.isnan(opinion.scores)
    return part.frame(
        scores,
        spread=np.where(imputed, 0, opinion.spread),
        answers=np.where(imputed, 0, opinion.answers),
    )
