import numpy as np
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.evaluation.auc import auc_sampled
from keras_sllmr.evaluation.delong import delong, holm


def test_by_the_definition():
    rng = np.random.default_rng(0)
    labels = np.array([1] * 7 + [0] * 9)
    model, baseline = rng.integers(0, 6, 16), rng.integers(0, 6, 16)

    def kernel(scores):
        p, n = scores[labels == 1][:, None], scores[labels == 0][None]
        return (p > n) + 0.5 * (p == n)

    k = kernel(model) - kernel(baseline)
    tens, ones = k.mean(axis=1), k.mean(axis=0)
    variance = tens.var(ddof=1) / 7 + ones.var(ddof=1) / 9
    found = delong(labels, model, baseline)
    assert found.difference == pytest.approx(
        auc_sampled(labels, model) - auc_sampled(labels, baseline)
    )
    assert found.error == pytest.approx(np.sqrt(variance))


def test_known_p_value():
    # A z of 1.96 is a two-sided chance of one in twenty.
    found = delong([1, 1, 0, 0], [4, 3, 2, 1], [4, 2, 3, 1])
    z = found.difference / found.error
    assert z == pytest.approx(0.70711, abs=1e-5)
    assert found.p_value == pytest.approx(0.47950, abs=1e-5)


def test_seeds_are_averaged():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 200)
    models, baselines = rng.normal(size=(2, 3, 200)) + labels
    found = delong(labels, models, baselines)
    each = [delong(labels, a, b) for a, b in zip(models, baselines, strict=True)]
    assert found.difference == pytest.approx(np.mean([one.difference for one in each]))
    assert found.error < max(one.error for one in each)
    again = delong(labels, np.stack([models[0]] * 3), np.stack([baselines[0]] * 3))
    assert again.error == pytest.approx(each[0].error)


def test_right_under_the_null():
    rng = np.random.default_rng(2)
    small = 0
    for _ in range(300):
        labels = np.repeat([1, 0], 60)
        common = rng.normal(size=120) + labels
        model, baseline = common + rng.normal(size=(2, 120))
        small += delong(labels, model, baseline).p_value < 0.1
    assert 15 <= small <= 48


def test_no_difference():
    found = delong([1, 1, 0, 0], [4, 3, 2, 1], [8, 6, 4, 2])
    assert (found.difference, found.error, found.p_value) == (0, 0, 1)
    always = delong([1, 1, 0, 0], [4, 3, 2, 1], [1, 2, 3, 4])
    assert (always.difference, always.p_value) == (1, 0)


def test_holm_by_hand():
    assert holm([0.01, 0.02, 0.03, 0.5]) == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    adjusted = holm([0.03, float("nan"), 0.02])
    assert adjusted[::2] == pytest.approx([0.04, 0.04])
    assert np.isnan(adjusted[1])
    assert holm([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 1, 0, 0], [1, 2, 3, 4], [[1, 2, 3, 4]] * 2), r"\[4\] and \[2, 4\]"),
        (([1, 0, 0], [1, 2, 3], [1, 2, 3]), "1 positives and 2 negatives"),
        (([1, 1, 0, 0], [1, 2, 3, np.nan], [1, 2, 3, 4]), "1 NaN"),
        (([1, 2, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4]), "0 or 1"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(DataError, match=message):
        delong(*arguments)
