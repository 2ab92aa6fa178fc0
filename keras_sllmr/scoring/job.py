"""The scoring job: candidates in, a score table out."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.scoring.calibration import to_unit_interval
from keras_sllmr.scoring.candidates import (
    Candidates,
    CandidateSettings,
    draw_candidates,
    unique_pairs,
)
from keras_sllmr.scoring.teachers.base import Teacher
from keras_sllmr.store.history import history_before
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut

Progress = Callable[[int, int], None]


def score_candidates(
    split: LeaveOneOut,
    teacher: Teacher,
    path: str | os.PathLike[str],
    *,
    settings: CandidateSettings | None = None,
    chunk: int = 512,
    progress: Progress | None = None,
) -> ScoreTable:
    """Draws candidates, asks the teacher and writes the table.

    Args:
        split: the store's split; only its training events are shown.
        teacher: gives standardised scores (see `calibration`).
        path: the table's folder.
        settings: candidates of each origin. Defaults to `CandidateSettings()`.
        chunk: int. Users scored at a time; does not change the result.
        progress: called with (users done, all users).

    Returns:
        The table, opened.
    """
    settings = settings or CandidateSettings()
    started = time.monotonic()
    parts = draw_candidates(split, settings, screen=teacher)
    kept = unique_pairs(parts, split.store.n_items)
    total = sum(len(part) for part in parts)
    frames, done = [], 0
    for part, keep in zip(parts, kept, strict=True):
        scores = np.empty(part.items.shape, np.float32)
        for start in range(0, len(part), chunk):
            block = slice(start, start + chunk)
            scores[block] = _scores(split, teacher, part, block, settings.history)
            done += len(part.users[block])
            if progress:
                progress(done, total)
        frames.append(part.frame(to_unit_interval(scores), keep))
    rows = pd.concat(frames, ignore_index=True)
    return ScoreTable.create(
        path,
        split.store,
        rows,
        teacher=teacher.describe(),
        settings={"candidates": settings.model_dump(), "calibration": "sigmoid(z)"},
        cost=_local_cost(len(rows), time.monotonic() - started),
    )


def _scores(
    split: LeaveOneOut, teacher: Teacher, part: Candidates, rows: slice, length: int
) -> np.ndarray:
    shown = history_before(
        split.store.events, part.users[rows], part.positions[rows], length=length
    )
    return teacher.score(shown, part.items[rows])


def _local_cost(pairs: int, seconds: float) -> dict[str, Any]:
    return {
        "pairs": pairs,
        "requests": 0,
        "tokens": 0,
        "usd": 0.0,
        "seconds": round(seconds, 1),
    }
