import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.auc import auc_sampled
from keras_sllmr.evaluation.bootstrap import _WEIGHTS_AT_ONCE, paired_bootstrap


def test_a_constant_difference_has_no_width():
    values = np.random.default_rng(0).random(30)
    found = paired_bootstrap(np.arange(30) // 3, values + 0.1, values, replicates=50)
    assert found.difference == pytest.approx(0.1)
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.1))
    assert (found.users, found.replicates, found.level) == (10, 50, 0.95)
    assert found.better


def test_mean_equals_resampling_by_hand():
    rng = np.random.default_rng(1)
    users = np.array([7, 7, 7, 2, 2, 5])
    model, baseline = rng.random(6), rng.random(6)
    found = paired_bootstrap(users, model, baseline, replicates=200, seed=3, level=0.8)
    draws = np.random.default_rng(3)
    rows_of = [np.flatnonzero(users == user) for user in (2, 5, 7)]
    means = []
    for _ in range(200):
        rows = np.concatenate([rows_of[u] for u in draws.integers(3, size=3)])
        means.append((model - baseline)[rows].mean())
    difference = (model - baseline).mean()
    width = np.quantile(np.abs(means - difference), 0.8)
    assert found.difference == pytest.approx(difference)
    assert [found.low, found.high] == pytest.approx(
        [difference - width, difference + width]
    )


def test_auc_equals_resampling_by_hand():
    rng = np.random.default_rng(2)
    users = np.repeat(np.arange(12), 2)
    labels = np.tile([1, 0], 12)
    model, baseline = rng.integers(0, 5, 24), rng.integers(0, 5, 24)
    found = paired_bootstrap(users, model, baseline, labels=labels, replicates=100)
    draws = np.random.default_rng(0)
    differences = []
    for _ in range(100):
        rows = np.concatenate(
            [np.flatnonzero(users == user) for user in draws.integers(12, size=12)]
        )
        differences.append(
            auc_sampled(labels[rows], model[rows])
            - auc_sampled(labels[rows], baseline[rows])
        )
    assert found.difference == pytest.approx(
        auc_sampled(labels, model) - auc_sampled(labels, baseline)
    )
    width = np.quantile(np.abs(differences - np.float64(found.difference)), 0.95)
    assert [found.low, found.high] == pytest.approx(
        [found.difference - width, found.difference + width]
    )


def test_deterministic_and_seeded():
    rng = np.random.default_rng(0)
    users, model, baseline = rng.integers(0, 40, 100), rng.random(100), rng.random(100)
    first = paired_bootstrap(users, model, baseline)
    assert first == paired_bootstrap(users, model, baseline)
    assert first != paired_bootstrap(users, model, baseline, seed=1)
    assert first.replicates == 1000


def test_blocks_of_replicates_do_not_matter(monkeypatch):
    rng = np.random.default_rng(0)
    users, model, baseline = np.arange(60) // 2, rng.random(60), rng.random(60)
    labels = np.tile([0, 1], 30)
    for kind in ({}, {"labels": labels}):
        monkeypatch.undo()
        whole = paired_bootstrap(users, model, baseline, replicates=90, **kind)
        assert _WEIGHTS_AT_ONCE > 90 * 60
        monkeypatch.setattr("keras_sllmr.evaluation.bootstrap._WEIGHTS_AT_ONCE", 7 * 60)
        parts = paired_bootstrap(users, model, baseline, replicates=90, **kind)
        assert parts.low == pytest.approx(whole.low)
        assert parts.high == pytest.approx(whole.high)


def test_no_difference_is_not_better():
    values = np.random.default_rng(0).random(50)
    found = paired_bootstrap(np.arange(50), values, values)
    assert (found.difference, found.low, found.high) == (0, 0, 0)
    assert not found.better
    noise = np.random.default_rng(1).normal(size=50)
    assert not paired_bootstrap(np.arange(50), noise, 0 * noise).better
    worse = paired_bootstrap(np.arange(50), values - 1, values)
    assert worse.high < 0
    assert not worse.better


def test_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(100):
        users = np.repeat(np.arange(60), 3)
        # Rows of a user go together: an interval over rows would be too narrow.
        differences = 0.2 + np.repeat(rng.normal(size=60), 3)
        found = paired_bootstrap(users, differences, 0 * differences, replicates=200)
        covered += found.low <= 0.2 <= found.high
    assert 88 <= covered <= 99


def test_replicates_without_a_class_are_left_out():
    users = np.arange(8)
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    scores = np.arange(8.0)
    found = paired_bootstrap(users, scores, -scores, labels=labels)
    assert 800 < found.replicates < 1000
    with pytest.raises(DataError, match="replicates with both, 2 users"):
        paired_bootstrap([1, 2], [0.0, 1.0], [1.0, 0.0], labels=[0, 1], seed=2)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "message"),
    [
        (([1, 2], [0, 1], [0, 1]), {"level": 1.0}, ConfigError, "level"),
        (([1, 2], [0, 1], [0, 1]), {"replicates": 0}, ConfigError, "replicates"),
        (([1, 2], [0, 1], [0]), {}, DataError, r"\[2\], \[2\], \[1\]"),
        (([1, 2], [0, np.nan], [0, 1]), {}, DataError, "1 NaN of the model"),
        (([1, 1], [0, 1], [0, 1]), {}, DataError, "2 users"),
        (([1, 2], [0, 1], [0, 1]), {"labels": [1, 1]}, DataError, "both classes"),
    ],
)
def test_bad_input(arguments, settings, error, message):
    with pytest.raises(error, match=message):
        paired_bootstrap(*arguments, **settings)
