"""What a teacher is: something that scores candidates for a user's history."""

from typing import Any, Protocol

import numpy as np


class Teacher(Protocol):
    """Scores candidate items given a user's recent history.

    A teacher returns *relevance*, on any scale on which more is better; `NaN` says
    "no answer". Calibration to [0, 1] is `calibration.Standardised`'s work.
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
