from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.calibration import (
    Standardised,
    calibrate,
    impute,
    to_unit_interval,
)


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


NAN = np.nan
ROWS = np.array(
    [
        [1.0, 3.0, 2.0, NAN],
        [5.0, 5.0, NAN, 5.0],
        [NAN, NAN, NAN, NAN],
        [-2.0, 0.0, 0.0, 7.0],
        [NAN, 4.0, NAN, NAN],
    ]
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            "minmax",
            [
                [0, 1, 0.5, NAN],
                [0.5, 0.5, NAN, 0.5],
                [NAN] * 4,
                [0, 2 / 9, 2 / 9, 1],
                [NAN, 0.5, NAN, NAN],
            ],
        ),
        (
            "rank",
            [
                [1 / 6, 5 / 6, 0.5, NAN],
                [0.5, 0.5, NAN, 0.5],
                [NAN] * 4,
                [1 / 8, 1 / 2, 1 / 2, 7 / 8],
                [NAN, 0.5, NAN, NAN],
            ],
        ),
    ],
)
def test_calibrate(method: Any, expected: list[list[float]]) -> None:
    found = calibrate(ROWS, method)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_calibrate_by_z_scores() -> None:
    found = calibrate(ROWS, "zscore")
    z = np.sqrt(1.5)  # of 1, 3 and 2: the variance is 2/3
    low, high = 1 / (1 + np.exp(z)), 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(found[0], [low, high, 0.5, NAN], rtol=1e-6)
    np.testing.assert_array_equal(found[1], [0.5, 0.5, NAN, 0.5])
    assert np.isnan(found[2]).all()
    np.testing.assert_array_equal(found[4], [NAN, 0.5, NAN, NAN])


def test_calibrate_by_sigmoid_and_by_nothing() -> None:
    np.testing.assert_array_equal(calibrate(ROWS, "sigmoid"), to_unit_interval(ROWS))
    unit = np.array([[0.0, 0.25, 1.0, NAN]])
    np.testing.assert_array_equal(calibrate(unit, "none"), unit)
    with pytest.raises(DataError, match=r"must be in \[0, 1\]. Received: 3, 8 such"):
        calibrate(ROWS, "none")


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-30, -7e30])
@pytest.mark.parametrize("method", ["minmax", "rank", "zscore"])
def test_equal_scores_are_half(method: Any, value: float) -> None:
    assert (calibrate(np.full((3, 7), value), method) == 0.5).all()


METHODS = st.sampled_from(["sigmoid", "minmax", "rank", "zscore"])
SCORES = arrays(
    np.float32,
    array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=6),
    elements=st.floats(-(2.0**100), 2.0**100, width=32) | st.just(NAN),
)


@settings(deadline=None)
@given(SCORES, METHODS)
@pytest.mark.filterwarnings("error")
def test_calibrated_scores_keep_bounds_order_and_gaps(
    scores: np.ndarray, method: Any
) -> None:
    found = calibrate(scores, method)
    assert found.shape == scores.shape
    np.testing.assert_array_equal(np.isnan(found), np.isnan(scores))
    assert np.nan_to_num(found).min(initial=0) >= 0
    assert np.nan_to_num(found).max(initial=0) <= 1
    below = scores[:, :, None] < scores[:, None]
    assert (found[:, :, None] <= found[:, None])[below].all()
    for row, alone in zip(found, scores, strict=True):
        np.testing.assert_array_equal(calibrate(alone[None], method)[0], row)


@settings(deadline=None)
@given(arrays(np.int8, (2, 5)), st.integers(1, 9), st.sampled_from(["minmax", "rank"]))
def test_the_scale_does_not_matter(
    scores: np.ndarray, factor: int, method: Any
) -> None:
    there = calibrate(scores, method)
    np.testing.assert_allclose(
        calibrate(scores * float(factor) + 3, method), there, rtol=1e-5
    )


@pytest.mark.parametrize("bad", [np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("method", ["none", "sigmoid", "minmax", "rank", "zscore"])
def test_infinite_scores(method: Any, bad: float) -> None:
    with pytest.raises(DataError, match=r"shape \[1, 2\] with 1 infinite scores"):
        calibrate(np.array([[bad, 0.0]]), method)


def test_wrong_shape_or_method() -> None:
    with pytest.raises(DataError, match=r"must have shape \[rows, C\]"):
        calibrate(np.zeros(3), "rank")
    method: Any = "softmax"
    with pytest.raises(ConfigError, match="none, sigmoid, minmax.*method='softmax'"):
        calibrate(np.zeros((1, 3)), method)


def test_impute() -> None:
    scores = np.array([[0.25, NAN]])
    np.testing.assert_array_equal(impute(scores), scores)
    np.testing.assert_array_equal(impute(scores, "half"), [[0.25, 0.5]])
    assert impute(scores, "half").dtype == impute(scores).dtype == np.float32
    option: Any = "mean"
    with pytest.raises(ConfigError, match="one of drop, half.*missing='mean'"):
        impute(scores, option)
