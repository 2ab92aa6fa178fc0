import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.scoring.platt import apply_platt, platt


def _sample(slope: float, bias: float, n: int, seed: int = 0) -> tuple:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    labels = rng.random(n) < 1 / (1 + np.exp(-(slope * x + bias)))
    return 1 / (1 + np.exp(-x)), labels


def test_two_scores_by_hand() -> None:
    # Odds of a positive 1 at s = .2 and 3 at s = .8: from log-odds ∓ ln 4 to 0 and ln 3.
    scores = np.repeat([0.2, 0.8], 40_000)
    labels = np.concatenate([np.tile([0, 1], 20_000), np.tile([0, 1, 1, 1], 10_000)])
    slope, bias = platt(scores, labels)
    assert slope == pytest.approx(np.log(3) / (2 * np.log(4)), rel=1e-5)
    assert bias == pytest.approx(np.log(3) / 2, rel=1e-5)
    found = apply_platt(np.array([0.2, 0.8]), slope, bias)
    np.testing.assert_allclose(found, [0.5, 0.75], rtol=1e-5)


def test_equals_scikit_learns_logistic_regression() -> None:
    scores, labels = _sample(0.4, -1.0, 5000)
    x = np.log(scores / (1 - scores))[:, np.newaxis]
    expected = LogisticRegression(C=np.inf, tol=1e-10).fit(x, labels)
    slope, bias = platt(scores, labels)
    assert slope == pytest.approx(expected.coef_[0, 0], rel=1e-4)
    assert bias == pytest.approx(expected.intercept_[0], rel=1e-4)


def test_missing_scores_are_left_out() -> None:
    scores, labels = _sample(1.0, 0.5, 200)
    with_missing = np.concatenate([[np.nan] * 50, scores]).reshape(50, 5)
    more = np.concatenate([np.ones(50), labels]).reshape(50, 5)
    assert platt(with_missing, more) == pytest.approx(platt(scores, labels))
    assert np.isnan(apply_platt(with_missing, 1.0, 0.5)).sum() == 50


@settings(max_examples=25, deadline=None)
@given(st.floats(-3, 3), st.floats(-2, 2), st.integers(0, 2**32))
def test_chances_have_the_labels_mean(slope: float, bias: float, seed: int) -> None:
    scores, labels = _sample(slope, bias, 400, seed)
    labels[:2] = 0, 1
    chances = apply_platt(scores, *platt(scores, labels))
    # What a likelihood's maximum has in common with the data, but for the penalty.
    assert chances.mean() == pytest.approx(labels.mean(), abs=1e-4)


@pytest.mark.parametrize(
    "scores",
    [
        [0.4, 0.6],  # separable
        [0.6, 0.4],  # separable, the wrong way round
        [0.0, 1.0],
        [1.0, 0.0],
        [0.5, 0.5],  # says nothing
        [0.9, 0.9],
        [1.0, 1.0],
    ],
)
@pytest.mark.parametrize("times", [1, 10_000])
def test_degenerate_data_stay_finite(scores: list[float], times: int) -> None:
    labels = np.tile([0, 1], times)
    slope, bias = platt(np.tile(scores, times), labels)
    assert np.isfinite([slope, bias]).all()
    chances = apply_platt(np.array(scores), slope, bias)
    assert ((chances > 0) & (chances < 1)).all()
    if scores[0] == scores[1]:
        np.testing.assert_allclose(chances, 0.5, atol=5e-3 if times == 1 else 1e-5)
    else:
        assert chances[0] < 0.5 < chances[1]


def test_the_identity_and_the_open_interval() -> None:
    scores = np.array([[0.0, 0.25], [1.0, np.nan]], np.float32)
    found = apply_platt(scores, 1.0, 0.0)
    np.testing.assert_allclose(found, [[2**-20, 0.25], [1 - 2**-20, np.nan]])
    assert found.dtype == np.float32
    steep = apply_platt(scores, 1e6, 0.0)
    assert steep[0, 0] > 0 and steep[1, 0] < 1


def test_wrong_arguments() -> None:
    with pytest.raises(DataError, match="must have one shape"):
        platt(np.zeros(2), np.zeros((2, 1)))
    with pytest.raises(DataError, match="in \\[0, 1\\]. Received: 1.5, 1 such"):
        platt(np.array([0.5, 1.5]), np.array([0, 1]))
    for labels in ([1, 1], [0, 2], [0, -1]):
        with pytest.raises(DataError, match="rows of both labels"):
            platt(np.array([0.5, 0.6]), np.array(labels))
    with pytest.raises(DataError, match="0 rows"):
        platt(np.array([np.nan]), np.array([1]))
    with pytest.raises(ConfigError, match="must be finite"):
        apply_platt(np.array([0.5]), np.nan, 0.0)
    with pytest.raises(DataError, match="in \\[0, 1\\]"):
        apply_platt(np.array([-0.1]), 1.0, 0.0)
