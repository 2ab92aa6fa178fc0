from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.scoring.reliability import probe_pairs, reliability
from keras_sllmr.store.split import LeaveOneOut

SplitOf = Callable[[list[list[int]], int], LeaveOneOut]


@pytest.fixture
def split(split_of: SplitOf) -> LeaveOneOut:
    """User 1 has 2 training events, user 2 five; item 10 is never trained on."""
    return split_of([[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7]], 10)


def _table(rows: list[tuple[int, int, float, int]]) -> Any:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    return SimpleNamespace(
        **dict(zip(("users", "items", "scores", "labels"), columns, strict=True))
    )


@pytest.fixture
def table() -> Any:
    return _table(
        [
            (1, 10, 0.9, 1),
            (1, 5, 0.4, 0),
            (1, 6, 0.9, 0),
            (1, 7, 0.95, -1),
            (2, 5, 0.25, 1),
            (2, 9, 0.75, 0),
            (2, 8, 0.125, 0),
        ]
    )


def test_probe_pairs(table: Any, split: LeaveOneOut) -> None:
    pairs = probe_pairs(table, split, cold_max=3, tail_share=0.2)
    np.testing.assert_allclose(pairs["gap"], [0.5, 0, 0.5, 0.125])
    assert pairs["right"].tolist() == [1, 0.5, 0, 1]
    assert pairs["cold"].tolist() == [True, True, False, False]
    # Never trained on are 6 to 10, in that order: the tail of 2 is 6 and 7.
    assert not pairs["tail"].any()
    wider = probe_pairs(table, split, tail_share=0.5)
    assert wider["tail"].tolist() == [True, True, False, False]


def test_unlabelled_scores_and_lone_positives_make_no_pair(
    split: LeaveOneOut,
) -> None:
    pairs = probe_pairs(_table([(1, 2, 0.5, 1), (2, 3, 0.5, -1)]), split)
    assert len(pairs) == 0


def test_hand_computed_reliability(table: Any, split: LeaveOneOut) -> None:
    figures = reliability(probe_pairs(table, split, tail_share=0.5), bins=2)
    assert (figures["pairs"], figures["accuracy"]) == (4, 0.625)
    assert figures["slices"] == {
        "all": {"pairs": 4, "accuracy": 0.625},
        "cold": {"pairs": 2, "accuracy": 0.75},
        "tail": {"pairs": 2, "accuracy": 0.75},
    }
    low, high = figures["bins"]
    assert (low["pairs"], low["accuracy"], low["gap_high"]) == (2, 0.75, 0.125)
    assert (high["pairs"], high["accuracy"], high["gap"]) == (2, 0.5, 0.5)


@pytest.mark.parametrize("bins", [1, 3, 8])
def test_every_pair_is_in_one_bin(bins: int) -> None:
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({"gap": rng.random(50), "right": 1.0})
    pairs["cold"] = pairs["tail"] = False
    figures = reliability(pairs, bins=bins)
    assert sum(part["pairs"] for part in figures["bins"]) == 50
    assert len(figures["bins"]) == bins
    assert set(figures["slices"]) == {"all"}
    assert max(p["pairs"] for p in figures["bins"]) <= 50 // bins + 2


def test_equal_gaps_share_a_bin() -> None:
    pairs = pd.DataFrame({"gap": [0.5] * 4, "right": [1.0, 0, 1, 1]})
    pairs["cold"] = pairs["tail"] = False
    (only,) = reliability(pairs)["bins"]
    assert (only["pairs"], only["accuracy"]) == (4, 0.75)
