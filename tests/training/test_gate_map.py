from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.training.batch import GUIDANCE
from keras_sllmr.training.gate_map import alpha_map, gate_map, spread
from keras_sllmr.training.guidance import GuidanceBlocks

COUNTS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 30), st.integers(0, 9)), min_size=1
)


@given(COUNTS, st.integers(1, 6))
def test_cells_hold_every_pair_once_and_its_mean(
    pairs: list[tuple[float, int, int]], bins: int
) -> None:
    alpha, history, popularity = map(np.array, zip(*pairs, strict=True))
    found = alpha_map(alpha, history, popularity, bins=bins)
    rows, columns = found["history_edges"], found["popularity_edges"]
    for edges, values in ((rows, history), (columns, popularity)):
        assert edges == sorted(set(edges)) and 2 <= len(edges) <= bins + 1
        assert edges[0] == values.min() and edges[-1] == values.max() + 1
    assert np.sum(found["pairs"]) == len(pairs)
    for r, c in np.ndindex(len(rows) - 1, len(columns) - 1):
        inside = (rows[r] <= history) & (history < rows[r + 1])
        inside &= (columns[c] <= popularity) & (popularity < columns[c + 1])
        assert found["pairs"][r][c] == inside.sum()
        mean = alpha[inside].mean() if inside.any() else None
        assert found["alpha"][r][c] == pytest.approx(mean)


def test_without_a_pair_or_without_a_number() -> None:
    empty = {"history_edges": [], "popularity_edges": [], "alpha": [], "pairs": []}
    assert alpha_map([], [], []) == empty
    assert alpha_map([np.nan], [1], [2])["alpha"] == [[None]]


def _data() -> Any:
    """Three users of 2, 5 and 9 training events; item i has 10 i of them."""
    block = GuidanceBlocks(
        users=np.array([1, 2, 3]),
        positions=np.array([2, 5, 9]),
        items=np.array([[1, 2, 0], [2, 3, 1], [3, 1, 0]], np.int32),
        scores=np.array([[0.9, 0.1, 0], [0.9, 0.5, 0.1], [0.5, 0.5, 0]], np.float32),
        labels=np.full((3, 3), -1, np.int32),
    )
    split = SimpleNamespace(
        train_lengths=np.array([0, 2, 5, 9]), train_counts=np.array([0, 10, 20, 30])
    )

    def features(block: GuidanceBlocks, rows: np.ndarray) -> Any:
        return {"score": block.scores[rows], "valid": block.items[rows] > 0}

    return SimpleNamespace(
        blocks={GUIDANCE: (block, 2)}, split=split, block_features=features
    )


class _Model:
    def pair_weights(self, block: Any) -> Any:
        score, valid = block["score"], block["valid"]
        gaps = score[:, :, None] - score[:, None, :]
        both = valid[:, :, None] & valid[:, None, :]
        return np.abs(gaps) / 2, np.where(both, np.maximum(gaps, 0), 0)


@pytest.mark.parametrize("users_at_once", [1, 2, 32])
def test_pairs_by_the_users_history_and_the_rarer_item(users_at_once: int) -> None:
    found = gate_map(_Model(), _data(), bins=4, users_at_once=users_at_once)
    # User 1 orders (1, 2), user 2 orders (2, 3), (2, 1) and (3, 1); user 3 ties.
    assert found["history_edges"] == [2, 5, 6]
    assert found["popularity_edges"] == [10, 20, 21]
    assert found["pairs"] == [[1, 0], [2, 1]]
    assert found["alpha"][0] == [pytest.approx(0.4), None]
    assert found["alpha"][1] == pytest.approx([(0.4 + 0.2) / 2, 0.2])


def test_users_are_spread_over_the_block() -> None:
    block = _data().blocks[GUIDANCE][0]
    assert spread(block, 1).tolist() == [0] and spread(block, 9).tolist() == [0, 1, 2]
