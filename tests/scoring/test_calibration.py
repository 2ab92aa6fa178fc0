from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.scoring.calibration import Standardised, to_unit_interval


class _Teacher:
    """Scores an item by its entry in a list."""

    name = "list"

    def __init__(self, scores: list[float]) -> None:
        self.scores = np.array(scores, np.float32)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "model": "m"}

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        return self.scores[candidates]


def test_z_scores_against_the_sample() -> None:
    teacher = _Teacher([np.nan, 1.0, 3.0, 8.0])
    sample = np.array([[1, 2], [0, 1], [2, 0]])
    standardised = Standardised(teacher, sample, sample)
    assert (standardised.mean, standardised.std) == (2.0, 1.0)
    scores = standardised.score(sample, np.array([[1, 2, 3, 0]]))
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [[-1, 1, 6, np.nan]])


def test_description_adds_the_scale() -> None:
    sample = np.array([[1, 2]])
    standardised = Standardised(_Teacher([np.nan, 1.0, 3.0]), sample, sample)
    assert standardised.name == "list"
    assert standardised.describe() == {
        "name": "list",
        "model": "m",
        "mean": 2.0,
        "std": 1.0,
    }


@pytest.mark.parametrize("score", [0.0, 0.1, 0.3, 1 / 3])
def test_one_score_for_all_tells_nothing_apart(score: float) -> None:
    """Whatever the number: its mean in single precision is not always itself."""
    sample = np.ones((1000, 10), int)
    with pytest.raises(DataError, match="'list' cannot tell items apart.* 10000 answ"):
        Standardised(_Teacher([np.nan, score]), sample, sample)


def test_no_answer_at_all() -> None:
    sample = np.zeros((3, 2), int)
    with pytest.raises(DataError, match="gave 0 answers.*Are the item texts empty"):
        Standardised(_Teacher([np.nan]), sample, sample)


def test_to_unit_interval() -> None:
    squashed = to_unit_interval(np.array([[0.0, np.log(3), -np.log(3), np.nan]]))
    assert squashed.dtype == np.float32
    np.testing.assert_allclose(squashed, [[0.5, 0.75, 0.25, np.nan]], rtol=1e-6)


def test_to_unit_interval_keeps_order_and_bounds() -> None:
    z = np.linspace(-700, 700, 101)
    squashed = to_unit_interval(z)
    assert (np.diff(squashed) >= 0).all()
    assert squashed.min() >= 0 and squashed.max() <= 1
