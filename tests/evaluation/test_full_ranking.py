import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.full_ranking import full_ranking


class Table:
    """Scores by user index out of a table [users, items]."""

    def __init__(self, scores):
        self.scores = np.asarray(scores, np.float32)
        self.calls = []

    @property
    def n_items(self):
        return self.scores.shape[1]

    def score(self, features):
        self.calls.append(len(features["user"]))
        return self.scores[features["user"]]


def ragged(lists):
    offsets = np.cumsum([0, *map(len, lists)])
    return np.array([x for row in lists for x in row], int), offsets


def test_by_hand():
    scorer = Table([[5, 4, 4, 3, 9], [1, 2, 3, 4, 4]])
    found = full_ranking(
        scorer,
        {"user": np.array([0, 1, 1])},
        np.array([2, 5, 1]),
        # Repeats, the positive itself and padding do no harm.
        ragged([[5, 5, 2, 0], [4], []]),
    )
    # Row 0: items 1, 3, 4 against 2 (score 4); row 1: 1, 2, 3 against 5; row 2: all.
    assert found.above.tolist() == [1, 0, 4]
    assert found.ties.tolist() == [1, 0, 0]
    assert found.candidates.tolist() == [3, 3, 4]


def brute_force(scores, users, positives, seen):
    rows = []
    for user, positive, items in zip(users, positives, seen, strict=True):
        others = set(range(1, scores.shape[1] + 1)) - set(items) - {positive}
        own = scores[user, positive - 1]
        rows.append(
            (
                sum(scores[user, item - 1] > own for item in others),
                sum(scores[user, item - 1] == own for item in others),
                len(others),
            )
        )
    return np.array(rows).T


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_brute_force_in_any_chunks(data):
    n_items = data.draw(st.integers(3, 12))
    n_rows = data.draw(st.integers(1, 9))
    seed = data.draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (5, n_items)).astype(np.float32)
    users = rng.integers(0, 5, n_rows)
    positives = rng.integers(1, n_items + 1, n_rows)
    seen = [rng.integers(0, n_items, rng.integers(0, n_items - 1)) for _ in users]
    expected = brute_force(scores, users, positives, seen)
    if expected[2].min() == 0:
        return
    for rows_at_once in (None, 1, 2, 100):
        found = full_ranking(
            Table(scores),
            lambda rows: {"user": users[rows]},
            positives,
            ragged(seen),
            rows_at_once=rows_at_once,
        )
        for name, values in zip(("above", "ties", "candidates"), expected, strict=True):
            assert getattr(found, name).tolist() == values.tolist()


def test_chunks_and_progress():
    scorer = Table(np.arange(12.0).reshape(2, 6))
    steps = []
    full_ranking(
        scorer,
        {"user": np.zeros(5, int)},
        np.ones(5, int),
        ragged([[]] * 5),
        rows_at_once=2,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert scorer.calls == [2, 2, 1]
    assert steps == [(2, 5), (4, 5), (5, 5)]


def test_no_rows():
    found = full_ranking(
        Table(np.zeros((1, 3))), {"user": []}, np.zeros(0, int), ([], [0])
    )
    assert found.above.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_must_be_finite(value):
    with pytest.raises(DataError, match="1 not finite"):
        full_ranking(Table([[1, 2, value]]), {"user": np.array([0])}, [1], ragged([[]]))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"positives": [0]}, DataError, "positives must be .* from 1 to 3"),
        ({"positives": [4]}, DataError, "from 4 to 4"),
        ({"positives": [1.5]}, DataError, "integers"),
        ({"seen": ragged([[4]])}, DataError, "values of seen .* 0 to 3"),
        ({"seen": ragged([[1], [2]])}, DataError, "must be 2 numbers"),
        ({"seen": (np.array([1, 2]), np.array([0, 1]))}, DataError, "offsets"),
        ({"seen": ragged([[2, 3]])}, DataError, "none for 1 of 1"),
        ({"rows_at_once": 0}, ConfigError, "rows_at_once"),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {
        "scorer": Table([[1, 2, 3]]),
        "user_features": {"user": np.array([0])},
        "positives": [1],
        "seen": ragged([[]]),
        **changes,
    }
    with pytest.raises(error, match=message):
        full_ranking(**arguments)
