import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.ranking_metrics import auc_full, ndcg_at, recall_at

counts = st.tuples(st.integers(0, 30), st.integers(0, 10))


def test_auc_full_by_hand():
    assert auc_full([0, 10, 3, 0], [0, 0, 4, 10], [10] * 4).tolist() == [
        1.0,
        0.0,
        0.5,
        0.5,
    ]


def test_lists_by_hand():
    above, ties = np.array([0, 1, 9, 10]), np.zeros(4, int)
    assert recall_at(above, ties).tolist() == [1, 1, 1, 0]
    assert ndcg_at(above, ties).tolist() == [1, 1 / np.log2(3), 1 / np.log2(11), 0]
    assert recall_at(above, ties, k=1).tolist() == [1, 0, 0, 0]
    assert ndcg_at(above, ties, k=1).tolist() == [1, 0, 0, 0]


@settings(max_examples=100, deadline=None)
@given(counts, st.integers(1, 12))
def test_ties_are_the_mean_over_all_orders(count, k):
    above, ties = count
    ranks = above + np.arange(ties + 1)  # candidates above, in each order of the tie
    none = np.zeros_like(ranks)
    for metric in (recall_at, ndcg_at):
        assert metric([above], [ties], k)[0] == pytest.approx(
            metric(ranks, none, k).mean()
        )
    candidates = above + ties + 5
    assert auc_full([above], [ties], [candidates])[0] == pytest.approx(
        auc_full(ranks, none, np.full(ties + 1, candidates)).mean()
    )


@settings(max_examples=100, deadline=None)
@given(counts, st.integers(1, 12))
def test_a_better_rank_is_never_worse(count, k):
    above, ties = count
    for metric in (recall_at, ndcg_at):
        better, worse = metric([above, above + 1], [ties, ties], k)
        assert 1 >= better >= worse >= 0


def test_no_rows():
    assert auc_full([], [], []).shape == (0,)
    assert recall_at(np.zeros(0, int), np.zeros(0, int)).shape == (0,)


def test_bad_counts():
    with pytest.raises(DataError, match="least candidates=0"):
        auc_full([0], [0], [0])
    with pytest.raises(DataError, match="most above and tied=4"):
        auc_full([2], [2], [3])
    with pytest.raises(DataError, match="no negative count"):
        recall_at([-1], [0])
    with pytest.raises(DataError, match="same shape"):
        ndcg_at([1, 2], [0])
    for metric in (recall_at, ndcg_at):
        with pytest.raises(ConfigError, match="k=0"):
            metric([0], [0], k=0)
