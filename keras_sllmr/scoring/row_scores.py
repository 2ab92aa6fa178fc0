"""The teacher's score of every training row."""

import os
import time
from collections.abc import Iterator

import numpy as np

from keras_sllmr.scoring.calibration import calibrate, impute
from keras_sllmr.scoring.choices import Calibration, Missing
from keras_sllmr.scoring.progress import Progress, Told, cost_of
from keras_sllmr.scoring.teachers.base import AskedTeacher, Teacher
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.history import history_before
from keras_sllmr.store.row_scores import RowScores
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.training_rows import TrainingRows

_ORDER = 302
# Rows of a block of questions.
_ASKED_AT_ONCE = 64


def score_rows(
    split: LeaveOneOut,
    teacher: Teacher,
    path: str | os.PathLike[str],
    *,
    sets: int = 4,
    seed: int = 0,
    history: int = 10,
    calibration: Calibration = "sigmoid",
    missing: Missing = "drop",
    chunk: int = 4096,
    progress: Progress | None = None,
) -> RowScores:
    """Asks the teacher about every training row and writes its scores.

    Of each training positive the teacher is shown what came before it, and scores it
    among its sampled negatives.

    Args:
        split: the store's split.
        teacher: the teacher. One that must be asked is asked about all rows first, in
            random order, so that what a cap leaves out is left to chance.
        path: the table's folder.
        sets: int. Sampled negatives a positive. Defaults to `4`.
        seed: int. Of the negatives and of the order of asking.
        history: int. Last events shown (L). Defaults to `10`.
        calibration: how scores become [0, 1], a positive and its negatives by
            themselves. Defaults to `"sigmoid"`, for standardised scores.
        missing: `"drop"`, or `"half"` for the paper's 0.5.
        chunk: int. Positives at a time; does not change the result.
        progress: called with (positives done, all positives), twice of each where the
            teacher is asked.

    Returns:
        The table, opened.

    Raises:
        EndpointError: when an endpoint is down; asked again, the job goes on.

    Reference:
        Hinton et al., "Distilling the knowledge in a neural network", 2015.
    """
    started = time.monotonic()
    rows = TrainingRows(split, sets=sets, seed=seed)
    told = Told(progress, len(rows) * (2 if isinstance(teacher, AskedTeacher) else 1))
    if isinstance(teacher, AskedTeacher):
        order = permutation(len(rows), seed, _ORDER)
        blocks = RowBlocks(
            rows, order, history=history, chunk=min(chunk, _ASKED_AT_ONCE)
        )
        teacher.ask(blocks, progress=told)
        told.base = len(rows)
    parts, done = [], 0
    for shown, items in RowBlocks(
        rows, np.arange(len(rows)), history=history, chunk=chunk
    ):
        # Of a teacher that must be asked this reads its ledger alone.
        parts.append(calibrate(teacher.score(shown, items), calibration))
        done += len(items)
        told(done)
    return RowScores.create(
        path,
        rows,
        impute(np.concatenate(parts), missing),
        teacher=teacher.describe(),
        settings={"history": history, "calibration": calibration, "missing": missing},
        cost=cost_of(teacher, rows.items.size, started),
    )


class RowBlocks:
    """The (histories, candidates) of training rows; may be gone through again.

    Args:
        rows: the training rows.
        order: int `[M]`. Which of them, in which order.
        history: int. Last events before the row's position that are shown.
        chunk: int. Rows of a block.
    """

    def __init__(
        self, rows: TrainingRows, order: np.ndarray, *, history: int, chunk: int
    ) -> None:
        self.rows, self.order = rows, order
        self.history, self.chunk = history, chunk

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rows, events = self.rows, self.rows.split.store.events
        for start in range(0, len(self.order), self.chunk):
            here = self.order[start : start + self.chunk]
            users, positions = rows.users[here], rows.positions[here]
            shown = history_before(events, users, positions, length=self.history)
            yield shown, rows.items[here]
