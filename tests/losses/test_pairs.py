from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.compat import tf
from keras_sllmr.losses.pairs import score_gaps, select_pairs

_EVERY = settings(max_examples=60, deadline=None)


def test_score_gaps() -> None:
    gaps = score_gaps(tf.constant([[0.75, 0.25, 0.5]]), tf.fill([1, 3], True))
    expected = [[0, 0.5, 0.25], [0, 0, 0], [0, 0.25, 0]]
    np.testing.assert_array_equal(gaps[0], expected)


def test_score_gaps_of_missing_scores_are_zero() -> None:
    scores = tf.constant([[np.nan, 0.25, 0.5]])
    gaps = score_gaps(scores, tf.constant([[False, True, True]]))
    np.testing.assert_array_equal(gaps[0], [[0, 0, 0], [0, 0, 0], [0, 0.25, 0]])


def test_score_gaps_stay_within_a_user() -> None:
    gaps = score_gaps(tf.constant([[0.9], [0.1]]), tf.fill([2, 1], True))
    np.testing.assert_array_equal(gaps, np.zeros((2, 1, 1)))


def _gaps(scores: Any) -> Any:
    """Gaps of users' scores; a missing one is NaN."""
    scores = np.asarray(scores, np.float32)
    return score_gaps(tf.constant(scores), tf.constant(~np.isnan(scores)))


def _pairs(gaps: Any) -> list[list[int]]:
    return tf.where(gaps > 0).numpy().tolist()


def test_the_budget_is_shared_by_the_users_with_a_pair() -> None:
    # A user with six pairs, one with a tie, one with one pair and one with nothing.
    nan = np.nan
    scores = [
        [1.0, 0.75, 0.25, 0.0],
        [0.5, 0.5, nan, nan],
        [0.25, 0.5, nan, nan],
        [nan] * 4,
    ]
    chosen = select_pairs(_gaps(scores), 7)
    # K̃ = ⌊7 / 2⌋: the first user's gaps are 1, ¾ (twice), ½, ¼ (twice).
    assert _pairs(chosen) == [[0, 0, 2], [0, 0, 3], [0, 1, 3], [2, 1, 0]]
    np.testing.assert_array_equal(chosen, np.where(chosen > 0, _gaps(scores), 0))


def test_everyone_keeps_a_pair_when_the_budget_is_short() -> None:
    chosen = select_pairs(_gaps([[0.0, 0.25, 1.0]] * 5), 2)
    assert _pairs(chosen) == [[user, 2, 0] for user in range(5)]


def test_of_equal_gaps_the_first_is_kept() -> None:
    scores = [[0.5, 1.0, 0.0, 0.5]]
    assert _pairs(select_pairs(_gaps(scores), 2)) == [[0, 0, 2], [0, 1, 2]]
    assert _pairs(select_pairs(_gaps(scores), 3)) == [[0, 0, 2], [0, 1, 0], [0, 1, 2]]


@pytest.mark.parametrize("budget", [1, 3, 1000])
def test_no_pair_at_all(budget: int) -> None:
    gaps = tf.zeros([2, 3, 3])
    np.testing.assert_array_equal(select_pairs(gaps, budget), gaps)


_SELECT = {
    "eager": select_pairs,
    "graph": tf.function(select_pairs),
    "xla": tf.function(select_pairs, jit_compile=True),
}


@pytest.mark.parametrize("how", _SELECT)
def test_every_way_to_run_keeps_the_same(how: str) -> None:
    rng = np.random.default_rng(4)
    gaps = _gaps(rng.integers(0, 4, (3, 6)) / 4)
    for budget in (1, 7, 60, 500):
        chosen = _SELECT[how](gaps, budget)
        np.testing.assert_array_equal(chosen, _reference(gaps.numpy(), budget))


def test_sizes_that_the_graph_does_not_know() -> None:
    select = tf.function(lambda gaps: select_pairs(gaps, 2)).get_concrete_function(
        tf.TensorSpec([None, None, None])
    )
    for scores in ([[0.0, 1.0]], [[0.0, 0.5, 1.0]] * 2):
        gaps = _gaps(scores)
        np.testing.assert_array_equal(select(gaps), select_pairs(gaps, 2))


def _reference(gaps: np.ndarray, budget: int) -> np.ndarray:
    """As the docstring says it, in loops."""
    users = sum(bool((user > 0).any()) for user in gaps)
    most = max(1, budget // max(users, 1))
    chosen = np.zeros_like(gaps)
    for user, of_user in enumerate(gaps):
        pairs = sorted(
            (-gap, i, j) for (i, j), gap in np.ndenumerate(of_user) if gap > 0
        )
        for gap, i, j in pairs[:most]:
            chosen[user, i, j] = -gap
    return chosen


@_EVERY
@given(
    seed=st.integers(0, 2**31),
    users=st.integers(1, 5),
    width=st.integers(1, 6),
    budget=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 5, 1000]),
)
def test_what_is_kept(
    seed: int, users: int, width: int, budget: int, levels: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels + 1, (users, width)) / levels
    scores[rng.random((users, width)) < 0.3] = np.nan
    gaps = _gaps(scores).numpy()
    chosen = select_pairs(tf.constant(gaps), budget).numpy()
    np.testing.assert_array_equal(chosen, _reference(gaps, budget))
    having = int((gaps > 0).any(axis=(1, 2)).sum())
    most = max(1, budget // max(1, having))
    assert (chosen > 0).sum() <= max(budget, having)
    for before, after in zip(gaps, chosen, strict=True):
        kept, dropped = after[after > 0], before[(before > 0) & (after == 0)]
        assert len(kept) == min(most, (before > 0).sum())
        assert not len(dropped) or kept.min() >= dropped.max()
        np.testing.assert_array_equal(kept, before[after > 0])
