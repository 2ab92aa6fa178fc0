import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import DataError
from keras_sllmr.evaluation.auc import PooledAUC, auc_sampled


def brute_force(labels, scores, weights):
    won = total = 0.0
    for p in np.flatnonzero(np.array(labels) == 1):
        for n in np.flatnonzero(np.array(labels) == 0):
            pair = weights[p] * weights[n]
            total += pair
            won += pair * ((scores[p] > scores[n]) + 0.5 * (scores[p] == scores[n]))
    return won / total


rows = st.lists(
    st.tuples(
        st.integers(0, 1), st.integers(-3, 3), st.floats(0.01, 5), st.integers(0, 3)
    ),
    min_size=2,
    max_size=40,
).filter(lambda rows: len({label for label, *_ in rows}) == 2)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_equals_the_definition(rows):
    labels, scores, weights, _ = map(np.array, zip(*rows, strict=True))
    assert auc_sampled(labels, scores) == pytest.approx(
        brute_force(labels, scores, np.ones(len(labels)))
    )
    assert auc_sampled(labels, scores, weights) == pytest.approx(
        brute_force(labels, scores, weights)
    )


@settings(max_examples=50, deadline=None)
@given(rows)
def test_whole_weights_repeat_rows(rows):
    labels, scores, _, counts = map(np.array, zip(*rows, strict=True))
    repeated = np.repeat(labels, counts), np.repeat(scores, counts)
    if len(set(repeated[0])) == 2:
        assert auc_sampled(labels, scores, counts) == pytest.approx(
            auc_sampled(*repeated)
        )


def test_by_hand():
    labels, scores = [1, 0, 1, 0], [3.0, 2.0, 1.0, 1.0]
    assert auc_sampled(labels, scores) == (1 + 1 + 0 + 0.5) / 4
    assert auc_sampled(labels, scores, [1, 1, 3, 1]) == (1 + 1 + 0 + 3 * 0.5) / 8
    assert auc_sampled([True, False], [1, 0]) == 1.0
    assert auc_sampled([1, 0], [0.0, 0.0]) == 0.5
    assert auc_sampled([1, 0], [-np.inf, np.inf]) == 0.0


def test_many_weight_vectors_at_once():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.integers(0, 9, 50)
    weights = rng.integers(0, 4, (7, 50))
    auc = PooledAUC(labels, scores)
    assert auc.evaluate(weights) == pytest.approx(
        [auc_sampled(labels, scores, w) for w in weights]
    )
    assert auc.evaluate(weights[:0]).shape == (0,)


def test_has_both_classes():
    auc = PooledAUC([1, 0, 0], [1, 2, 3])
    weights = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]])
    assert auc.has_both_classes(weights).tolist() == [True, False, False]
    with pytest.raises(DataError, match="2 weight vectors with one class"):
        auc.evaluate(weights)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([1, 1], [0.0, 1.0], "2 positives and 0 negatives"),
        ([0, 0], [0.0, 1.0], "0 positives and 2 negatives"),
        ([1, 0], [0.0, np.nan], "1 NaN in 2 rows"),
        ([1, 0], [0.0], r"\[2\] and \[1\]"),
        ([[1], [0]], [[0.0], [1.0]], r"\[2, 1\]"),
        ([1, 2], [0.0, 1.0], r"\[1, 2\]"),
        ([], [], "at least one"),
    ],
)
def test_bad_rows(labels, scores, message):
    with pytest.raises(DataError, match=message):
        auc_sampled(labels, scores)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, -1], "not negative"),
        ([1, np.nan], "finite"),
        ([1, 1, 1], r"\[2\]. Received: \[3\]"),
        ([1, 0], "both classes"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(DataError, match=message):
        auc_sampled([1, 0], [0.0, 1.0], weights)
