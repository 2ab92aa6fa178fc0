from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.teachers.mixture import MixtureTeacher


class _Fixed:
    def __init__(self, name: str, scores: list[float]) -> None:
        self.name, self.scores = name, scores

    def describe(self) -> dict[str, Any]:
        return {"name": self.name}

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        return np.array([self.scores] * len(candidates), np.float32)


def _mixture(weights: list[float] | None = None) -> MixtureTeacher:
    parts: list[Any] = [
        _Fixed("a", [1.0, np.nan, 4.0, np.nan]),
        _Fixed("b", [3.0, 2.0, np.nan, np.nan]),
    ]
    return MixtureTeacher(parts, weights)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [(None, [2.0, 2.0, 4.0, np.nan]), ([3.0, 1.0], [1.5, 2.0, 4.0, np.nan])],
)
def test_weighted_mean_of_those_that_answer(
    weights: list[float] | None, expected: list[float]
) -> None:
    scores = _mixture(weights).score(np.zeros((2, 3), int), np.ones((2, 4), int))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [expected] * 2)


def test_description_holds_the_parts() -> None:
    mixture = _mixture([3.0, 1.0])
    assert mixture.name == "a+b"
    assert mixture.describe() == {
        "name": "a+b",
        "weights": [3.0, 1.0],
        "teachers": [{"name": "a"}, {"name": "b"}],
    }


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, -1.0], [1.0, 1.0, 1.0]])
def test_wrong_weights(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="one positive number a teacher. Received"):
        _mixture(weights)


def test_no_teacher() -> None:
    with pytest.raises(ConfigError, match="for 0 teachers"):
        MixtureTeacher([])
