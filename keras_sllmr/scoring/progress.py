"""What a scoring job tells while it goes on, and of its cost when it is done."""

import time
from collections.abc import Callable
from typing import Any, TypeAlias

from keras_sllmr.scoring.teachers.base import AskedTeacher, Teacher

#: Called with (done, of all).
Progress: TypeAlias = Callable[[int, int], None]

_FREE: dict[str, Any] = {"requests": 0, "tokens": 0, "usd": 0.0}


class Told:
    """Progress over a job's passes, one after the other.

    Args:
        progress: what is called; none to tell nobody.
        total: int. Rows of all passes together.

    Example:
        >>> told = Told(print, 8)
        >>> told(4)
        4 8
        >>> told.base = 4  # the second pass begins
        >>> told(1)
        5 8
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.base = progress, total, 0

    def __call__(self, done: int) -> None:
        """Tells of rows done in this pass."""
        if self.progress:
            self.progress(min(self.base + int(done), self.total), self.total)


def cost_of(teacher: Teacher, pairs: int, started: float) -> dict[str, Any]:
    """What a job cost: requests, tokens and price if the teacher was asked.

    Args:
        teacher: the job's.
        pairs: int. How many it scored.
        started: float. `time.monotonic()` at the start.
    """
    report = teacher.report() if isinstance(teacher, AskedTeacher) else _FREE
    seconds = round(time.monotonic() - started, 1)
    return {"pairs": pairs, **report, "seconds": seconds}
