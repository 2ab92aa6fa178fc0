from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.scored_pairs import ScoredPairs
from keras_sllmr.training.guidance import GuidanceBlocks


def _table(rows: list[tuple[int, int, float, int, int]]) -> Any:
    columns = np.array(rows, float).reshape(-1, 5).T
    users, items, scores, positions, labels = columns
    pairs = ScoredPairs(
        users.astype(int),
        items.astype(int),
        scores.astype(np.float32),
        positions.astype(int),
        labels.astype(int),
        n_items=10,
    )
    return SimpleNamespace(pairs=pairs)


ROWS = [
    (1, 5, 0.5, 2, -1),
    (1, 2, 0.75, 1, 1),
    (1, 9, 0.25, 1, 0),
    (1, 8, 0.25, 2, -1),
    (2, 8, 0.125, 4, -1),
    (2, 9, 0.25, 4, -1),
    (2, 10, 0.25, 4, -1),
]


def test_a_row_a_user_padded_to_the_widest() -> None:
    blocks = GuidanceBlocks.of(_table(ROWS))
    assert len(blocks) == 2
    assert blocks.users.tolist() == [1, 2] and blocks.positions.tolist() == [2, 4]
    assert blocks.items.tolist() == [[5, 8, 0], [8, 9, 10]]
    assert blocks.scores.tolist() == [[0.5, 0.25, 0], [0.125, 0.25, 0.25]]
    assert blocks.labels.tolist() == [[-1] * 3] * 2


def test_probes() -> None:
    blocks = GuidanceBlocks.of(_table(ROWS), probes=True)
    assert (blocks.users.tolist(), blocks.positions.tolist()) == ([1], [1])
    assert blocks.items.tolist() == [[2, 9]]
    assert blocks.labels.tolist() == [[1, 0]]


def test_some_of_the_rows() -> None:
    blocks = GuidanceBlocks.of(_table(ROWS))
    turned = blocks.take(np.array([1, 0]))
    assert turned.users.tolist() == [2, 1] and turned.positions.tolist() == [4, 2]
    assert turned.items.tolist() == [[8, 9, 10], [5, 8, 0]]
    assert len(blocks.take(np.array([], int))) == 0
    referred = replace(blocks, reference=blocks.scores * 2)
    reference = referred.take(np.array([1])).reference
    assert reference is not None and reference.tolist() == [[0.25, 0.5, 0.5]]


def test_joined_rows_are_padded_to_the_widest() -> None:
    candidates = GuidanceBlocks.of(_table(ROWS))
    probes = GuidanceBlocks.of(_table(ROWS), probes=True)
    for both, order in (
        (candidates.joined(probes), [0, 1, 2]),
        (probes.joined(candidates), [2, 0, 1]),
    ):
        assert both.users.tolist() == [[1, 2, 1][k] for k in order]
        assert both.positions.tolist() == [[2, 4, 1][k] for k in order]
        items = [[5, 8, 0], [8, 9, 10], [2, 9, 0]]
        assert both.items.tolist() == [items[k] for k in order]
        scores = [[0.5, 0.25, 0], [0.125, 0.25, 0.25], [0.75, 0.25, 0]]
        assert both.scores.tolist() == [scores[k] for k in order]
        labels = [[-1] * 3, [-1] * 3, [1, 0, -1]]
        assert both.labels.tolist() == [labels[k] for k in order]
        assert both.pairs == candidates.pairs + probes.pairs


def test_shuffled_scores_stay_with_their_user() -> None:
    rng = np.random.default_rng(0)
    rows = [
        (user, item, rng.uniform(), 1, -1)
        for user in range(1, 31)
        for item in range(1, 4 + user % 3)
    ]
    blocks = GuidanceBlocks.of(_table(rows))
    chosen = blocks.users % 2 == 0
    dealt = blocks.shuffled(chosen, seed=1)
    for name in ("users", "positions", "items", "labels"):
        np.testing.assert_array_equal(getattr(dealt, name), getattr(blocks, name))
    np.testing.assert_array_equal(dealt.scores[~chosen], blocks.scores[~chosen])
    np.testing.assert_array_equal(np.sort(dealt.scores), np.sort(blocks.scores))
    assert (dealt.scores[blocks.items == 0] == 0).all()
    scored = blocks.items > 0
    moved = (dealt.scores != blocks.scores)[chosen][scored[chosen]]
    assert 0.5 < moved.mean() < 0.95
    again, other = blocks.shuffled(chosen, seed=1), blocks.shuffled(chosen, seed=2)
    np.testing.assert_array_equal(again.scores, dealt.scores)
    assert (other.scores != dealt.scores).any()


def test_pairs_leaves_ties_and_padding_out() -> None:
    # User 1 has one pair; of user 2's three, 9 and 10 tie.
    assert GuidanceBlocks.of(_table(ROWS)).pairs == 3


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([], "0 candidate scores of 0 users"),
        ([(1, 5, 0.5, 2, -1), (2, 5, 0.5, 4, -1)], "2 candidate scores of 2 users"),
        ([(1, 5, 0.5, 2, -1), (1, 6, 0.5, 2, -1)], "2 candidate scores of 1 users"),
        ([(1, 5, 0.0, 2, -1)], "1 candidate scores of 1 users"),
    ],
    ids=["empty", "one-each", "tie", "zero-and-padding"],
)
def test_no_pair_is_an_error_that_says_why(
    rows: list[tuple[int, int, float, int, int]], found: str
) -> None:
    with pytest.raises(DataError, match=f"scored differently. Received: {found}"):
        GuidanceBlocks.of(_table(rows))


def test_no_probe_is_an_error_that_says_why() -> None:
    candidates = [row for row in ROWS if row[4] == -1]
    with pytest.raises(DataError, match="0 probe scores of 0 users"):
        GuidanceBlocks.of(_table(candidates), probes=True)
