import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.simultaneous import max_t_intervals


def test_one_comparison_is_the_symmetric_interval():
    draws = np.array([[0.0], [1.0], [2.0], [3.0], [6.0]])
    low, high = max_t_intervals([2.0], draws, level=0.75)
    # Deviations 2, 1, 0, 1, 4: three quarters of them are at most 2.
    assert (low[0], high[0]) == (pytest.approx(0.0), pytest.approx(4.0))


def test_two_comparisons_by_hand():
    draws = np.array([[1.0, -3.0], [-1.0, 3.0], [1.0, 3.0], [-1.0, -3.0]])
    low, high = max_t_intervals([0.0, 0.0], draws)
    # Both deviate by one standard deviation in every replicate.
    assert high.tolist() == pytest.approx([1.0, 3.0])
    assert low.tolist() == pytest.approx([-1.0, -3.0])


def test_more_comparisons_widen_and_copies_do_not():
    draws = np.random.default_rng(0).normal(size=(2000, 20))
    widths = []
    for family in (draws[:, :1], draws, np.repeat(draws[:, :1], 20, axis=1)):
        low, high = max_t_intervals(np.zeros(family.shape[1]), family)
        widths.append(high[0] - low[0])
    assert 1.4 < widths[1] / widths[0] < 1.7  # 3.02 against 1.96 for normal draws
    assert widths[2] == pytest.approx(widths[0])


def test_all_hold_at_once_about_as_often_as_they_say():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        sample = rng.normal(size=(40, 8))
        places = rng.integers(40, size=(300, 40))
        low, high = max_t_intervals(sample.mean(axis=0), sample[places].mean(axis=1))
        held += np.all((low <= 0) & (high >= 0))
    assert 176 <= held <= 198


def test_what_never_changes_has_no_width():
    draws = np.random.default_rng(0).normal(size=(50, 2))
    draws[:, 1] = 5.0
    low, high = max_t_intervals([0.0, 5.0], draws)
    assert (low[1], high[1]) == (5.0, 5.0)
    assert low[0] < high[0]


def test_missing_replicates():
    draws = np.random.default_rng(0).normal(size=(100, 3))
    draws[:20, 0] = draws[:60, 1] = np.nan
    low, high = max_t_intervals([0.0, 0.0, np.nan], draws)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, True]
    low, high = max_t_intervals([np.nan], draws[:, :1])
    assert np.isnan(low[0])


@pytest.mark.parametrize(
    ("arguments", "level", "error", "message"),
    [
        (([0.0], [[0.0]]), 1.0, ConfigError, "`level`"),
        (([0.0], [[0.0, 1.0]]), 0.9, DataError, r"\[1\] and \[1, 2\]"),
        (([0.0], np.zeros((0, 1))), 0.9, DataError, r"\[0, 1\]"),
    ],
)
def test_bad_input(arguments, level, error, message):
    with pytest.raises(error, match=message):
        max_t_intervals(*arguments, level=level)
