from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.training.calibration_table import calibration


def test_hand_computed() -> None:
    chances = [0.1, 0.9, 0.3, 0.7, 0.5, 0.5]
    right = [False, True, True, False, True, False]
    found = calibration(chances, right, bins=3)
    assert found["bins"] == [
        {"chance": pytest.approx(0.2), "accuracy": 0.5, "pairs": 2},
        {"chance": 0.5, "accuracy": 0.5, "pairs": 2},
        {"chance": pytest.approx(0.8), "accuracy": 0.5, "pairs": 2},
    ]
    assert (found["pairs"], found["accuracy"]) == (6, 0.5)
    assert found["ece"] == pytest.approx((0.3 + 0 + 0.3) / 3)
    assert found["brier"] == pytest.approx(
        (0.01 + 0.01 + 0.49 + 0.49 + 0.25 + 0.25) / 6
    )
    # Of nine pairs of a right and a wrong one: .9 beats three; .3 one; .5 one, ties one.
    assert found["auc"] == pytest.approx((3 + 1 + 1.5) / 9)


def test_equal_chances_share_a_bin() -> None:
    found = calibration([1.0] * 40, [True, False] * 20)
    assert found["bins"] == [{"chance": 1.0, "accuracy": 0.5, "pairs": 40}]
    assert (found["ece"], found["auc"], found["brier"]) == (0.5, 0.5, 0.5)


def test_one_outcome_has_no_auc() -> None:
    found = calibration([0.5, 0.75], [True, True])
    assert "auc" not in found and found["accuracy"] == 1


def test_nothing() -> None:
    assert calibration([], []) == {"pairs": 0, "bins": []}


def test_honest_chances_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random(20_000)
    found = calibration(chances, rng.random(20_000) < chances)
    assert found["ece"] < 0.02
    assert found["brier"] == pytest.approx(1 / 6, abs=0.01)
    assert found["auc"] == pytest.approx(5 / 6, abs=0.01)
    assert [row["pairs"] for row in found["bins"]] == [2000] * 10


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(
        st.tuples(st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.9, 1.0]), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    bins=st.integers(1, 12),
)
def test_the_table_covers_every_pair(pairs: list[tuple[Any, Any]], bins: int) -> None:
    chances, right = map(np.array, zip(*pairs, strict=True))
    found = calibration(chances, right, bins=bins)
    table = found["bins"]
    assert 1 <= len(table) <= bins
    assert sum(row["pairs"] for row in table) == len(pairs)
    means = [row["chance"] for row in table]
    assert means == sorted(means)
    total = sum(row["pairs"] * row["accuracy"] for row in table)
    assert total == pytest.approx(right.sum())
    assert 0 <= found["ece"] <= 1 and 0 <= found["brier"] <= 1
