"""What a teacher is: something that scores candidates for a user's history."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


class Teacher(Protocol):
    """Scores candidate items given a user's recent history.

    A teacher returns *relevance*, on any scale on which more is better; `NaN` says
    "no answer". Calibration to [0, 1] is `calibration`'s work.
    """

    name: str

    def describe(self) -> dict[str, Any]:
        """Everything that changes its answers: model, prompt hash, parameters."""
        ...

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Relevance of candidates.

        Args:
            histories: int `[users, L]`. Item indices, 0 is padding.
            candidates: int `[users, C]`. Item indices, 0 is padding.

        Returns:
            float32 `[users, C]`; NaN for padding and where there is no answer.
        """
        ...


@dataclass(frozen=True)
class Opinion:
    """Scores with what stands behind them.

    Args:
        scores: float32 `[users, C]`; NaN where there is no answer.
        spread: float32 `[users, C]`. Standard deviation over the answers.
        answers: int64 `[users, C]`. How many answers were averaged.
    """

    scores: np.ndarray
    spread: np.ndarray
    answers: np.ndarray


@runtime_checkable
class AskedTeacher(Teacher, Protocol):
    """A teacher that must be asked, for money and time, before it can score.

    `ask` sends what its ledger lacks; `score` and `opinion` read the ledger alone.
    """

    def ask(
        self,
        blocks: Iterable[tuple[np.ndarray, np.ndarray]],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """Asks about (histories, candidates) blocks, in their order.

        Args:
            blocks: drawn as the asking goes on, never all at once; may be gone through
                more than once.
            progress: called with the number of rows done.

        Returns:
            What was asked, answered and failed, and its cost.
        """
        ...

    def opinion(self, histories: np.ndarray, candidates: np.ndarray) -> Opinion:
        """What the ledger's answers say; see `Teacher.score`."""
        ...

    def report(self) -> dict[str, Any]:
        """Problems met in the answers that `opinion` read so far, and the cost."""
        ...
