from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.guidance import GuidanceBlocks


@pytest.fixture
def split() -> LeaveOneOut:
    """User 1 has two training events, user 2 four; items 6 to 10 have none."""
    histories = [[1, 2, 3, 4], [1, 2, 3, 5, 6, 7]]
    store: Any = SimpleNamespace(
        events=Ragged.from_rows([[], *histories]), n_users=2, n_items=10
    )
    return LeaveOneOut(store)


def _table(rows: list[tuple[int, int, float, int, int]]) -> Any:
    columns = np.array(rows, float).reshape(-1, 5).T
    users, items, scores, positions, labels = columns
    return SimpleNamespace(
        users=users.astype(int),
        items=items.astype(int),
        scores=scores.astype(np.float32),
        positions=positions.astype(int),
        labels=labels.astype(int),
    )


ROWS = [
    (1, 5, 0.5, 2, -1),
    (1, 2, 0.75, 1, 1),
    (1, 9, 0.25, 1, 0),
    (1, 8, 0.25, 2, -1),
    (2, 8, 0.125, 4, -1),
    (2, 9, 0.25, 4, -1),
    (2, 10, 0.25, 4, -1),
]


def test_a_row_a_user_padded_to_the_widest(split: LeaveOneOut) -> None:
    blocks = GuidanceBlocks.of(_table(ROWS), split)
    assert len(blocks) == 2
    assert blocks.users.tolist() == [1, 2] and blocks.positions.tolist() == [2, 4]
    assert blocks.items.tolist() == [[5, 8, 0], [8, 9, 10]]
    assert blocks.scores.tolist() == [[0.5, 0.25, 0], [0.125, 0.25, 0.25]]
    assert blocks.labels.tolist() == [[-1] * 3] * 2


def test_probes(split: LeaveOneOut) -> None:
    blocks = GuidanceBlocks.of(_table(ROWS), split, probes=True)
    assert (blocks.users.tolist(), blocks.positions.tolist()) == ([1], [1])
    assert blocks.items.tolist() == [[2, 9]]
    assert blocks.labels.tolist() == [[1, 0]]


def test_signals(split: LeaveOneOut) -> None:
    blocks = GuidanceBlocks.of(_table(ROWS), split, cold_max=2, tail_share=0.4)
    assert blocks.signals["cold"].tolist() == [[1] * 3, [0] * 3]
    # The tail of four: 4 and 6 to 8, which nobody trained on and come first.
    assert blocks.signals["tail"].tolist() == [[0, 1, 0], [1, 0, 0]]
    most = np.log(5)  # the longest training history has four events
    expected = np.repeat([[np.log(3) / most], [1.0]], 3, axis=1)
    np.testing.assert_allclose(blocks.signals["log_history"], expected, rtol=1e-6)
    # Items 1 and 2 have two training events, 3 and 5 one; 8 to 10 and padding none.
    expected = [[np.log(2) / np.log(3), 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(blocks.signals["log_popularity"], expected, rtol=1e-6)
    probes = GuidanceBlocks.of(_table(ROWS), split, probes=True)
    assert probes.signals["log_popularity"].tolist() == [[1, 0]]
    for values in blocks.signals.values():
        assert values.dtype == np.float32 and values.shape == blocks.items.shape


def test_pairs_leaves_ties_and_padding_out(split: LeaveOneOut) -> None:
    # User 1 has one pair; of user 2's three, 9 and 10 tie.
    assert GuidanceBlocks.of(_table(ROWS), split).pairs == 3


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
    split: LeaveOneOut, rows: list[tuple[int, int, float, int, int]], found: str
) -> None:
    with pytest.raises(DataError, match=f"scored differently. Received: {found}"):
        GuidanceBlocks.of(_table(rows), split)


def test_no_probe_is_an_error_that_says_why(split: LeaveOneOut) -> None:
    candidates = [row for row in ROWS if row[4] == -1]
    with pytest.raises(DataError, match="0 probe scores of 0 users"):
        GuidanceBlocks.of(_table(candidates), split, probes=True)
