import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.scoring.inspection import coverage, distribution, inspect_table
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut

COLUMNS = ["user", "item", "score", "origin", "position", "label", "spread", "answers"]
PLAIN: dict[str, Any] = {
    "teacher": {"name": "tfidf"},
    "settings": {},
    "cost": {"requests": 0, "usd": 0.0},
}


def _written(
    path: Path, split: LeaveOneOut, rows: list[Any], **about: Any
) -> ScoreTable:
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return ScoreTable.create(path, split.store, frame, **{**PLAIN, **about})


def _table(
    users: list[int], items: list[int], scores: list[float], **columns: Any
) -> Any:
    """A table in memory."""
    number = len(users)
    rest: dict[str, Any] = {
        "spread": np.zeros(number, np.float32),
        "answers": np.ones(number, np.int64),
        "origins": np.array(["near"] * number, dtype=str),
        "coverage": 0.25,
    }

    class Table(SimpleNamespace):
        def __len__(self) -> int:
            return number

    return Table(
        users=np.array(users, np.int64),
        items=np.array(items, np.int64),
        scores=np.array(scores, np.float32),
        **{**rest, **columns},
    )


def _mask(*members: bool) -> np.ndarray:
    return np.array([False, *members])


def test_hand_computed_coverage() -> None:
    table = _table(
        [1, 1, 1, 2], [1, 2, 3, 1], [0.5] * 4, origins=np.array(["a", "a", "b", "b"])
    )
    cold, tail = _mask(True, False, False, True), _mask(False, True, True, False, False)
    found = coverage(table, cold, tail)
    assert found["share"] == 0.25
    assert found["users"] == {
        "all": {"number": 4, "scored": 2, "share": 0.5, "pairs_each": 1.0},
        "cold": {"number": 2, "scored": 1, "share": 0.5, "pairs_each": 1.5},
        "warm": {"number": 2, "scored": 1, "share": 0.5, "pairs_each": 0.5},
    }
    assert found["items"] == {
        "all": {"number": 5, "scored": 3, "share": 0.6, "pairs_each": 0.8},
        "tail": {"number": 2, "scored": 2, "share": 1.0, "pairs_each": 1.0},
        "other": {
            "number": 3,
            "scored": 1,
            "share": pytest.approx(1 / 3),
            "pairs_each": pytest.approx(2 / 3),
        },
    }
    third = pytest.approx(1 / 3)
    assert found["origins"] == {
        "a": {
            "pairs": 2,
            "share": 0.5,
            "each": {"cold": 1.0, "warm": 0.0, "tail": 0.5, "other": third},
        },
        "b": {
            "pairs": 2,
            "share": 0.5,
            "each": {"cold": 0.5, "warm": 0.5, "tail": 0.5, "other": third},
        },
    }


def test_slices_without_a_member_are_left_out() -> None:
    found = coverage(_table([1], [1], [0.5]), _mask(True), _mask(False, False))
    assert list(found["users"]) == ["all", "cold"]
    assert list(found["items"]) == ["all", "other"]
    assert found["origins"]["near"]["each"] == {"cold": 1.0, "other": 0.5}


def test_hand_computed_distribution() -> None:
    table = _table(
        [1, 1, 1, 1, 2, 2, 3],
        [1, 2, 3, 4, 1, 2, 1],
        [0.0, 0.5, 0.5, 1.0, 0.25, 0.75, 0.5],
        answers=np.array([1, 3, 2, 1, 0, 1, 1]),
        spread=np.array([0, 0.25, 0.75, 0, 0, 0, 0], np.float32),
    )
    found = distribution(table)
    assert found is not None
    assert found["quantiles"] == {
        "0": 0.0,
        "5": pytest.approx(0.075),
        "25": 0.375,
        "50": 0.5,
        "75": 0.625,
        "95": pytest.approx(0.925),
        "100": 1.0,
    }
    assert found["histogram"] == [1, 0, 1, 0, 0, 3, 0, 1, 0, 1]
    assert found["distinct"] == 5
    shares = [found["share_0"], found["share_half"], found["share_1"]]
    assert shares == pytest.approx([1 / 7, 3 / 7, 1 / 7])
    # One of six comparisons of user 1 and one of user 2.
    assert found["ties"] == pytest.approx(1 / 7)
    assert found["std_within_users"] == pytest.approx((np.sqrt(0.125) + 0.25) / 2)
    assert (found["averaged"], found["answers"], found["spread"]) == (2, 2.5, 0.5)


def test_one_score_has_no_ties_or_deviation() -> None:
    found = distribution(_table([1], [1], [0.3]))
    assert found is not None
    assert (found["ties"], found["std_within_users"], found["spread"]) == (None,) * 3
    assert found["quantiles"]["0"] == found["quantiles"]["100"]


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 8)), min_size=1, max_size=40)
)
@settings(max_examples=60, deadline=None)
def test_distribution_agrees_with_counting(rows: list[tuple[int, int]]) -> None:
    users = sorted(user for user, _ in rows)
    scores = [eighths / 8 for _, eighths in rows]
    found = distribution(_table(users, list(range(len(rows))), scores))
    assert found is not None
    assert sum(found["histogram"]) == len(rows)
    equal = [
        scores[i] == scores[j]
        for i in range(len(rows))
        for j in range(i)
        if users[i] == users[j]
    ]
    assert found["ties"] == (pytest.approx(np.mean(equal)) if equal else None)


def test_a_table_of_a_language_model(tmp_path: Path, split: LeaveOneOut) -> None:
    rows = [
        (1, 2, 0.9, "probe", 3, 1, 0.1, 2),
        (1, 3, 0.4, "probe", 3, 0, 0.3, 2),
        (2, 4, 0.5, "near", 4, -1, 0.0, 0),
        (2, 5, None, "near", 4, -1, 0.0, 0),
    ]
    table = _written(
        tmp_path / "scores",
        split,
        rows,
        teacher={
            "name": "llm",
            "model": "m",
            "prompt": "ranking",
            "prompt_hash": "ab",
            "reasks": 1,
        },
        cost={
            "pairs": 4,
            "requests": 3,
            "tokens": 500,
            "usd": 0.06,
            "failed": {"refused": 2},
            "problems": {"foreign": 1},
            "ledger": {"requests": 9},
            "stopped_by": "max_usd",
        },
    )
    found = inspect_table(table, split)
    assert found["teacher"] == {
        "name": "llm",
        "model": "m",
        "prompt": "ranking",
        "prompt_hash": "ab",
    }
    assert (found["pairs"], found["missing"], found["imputed"]) == (3, 1, 1)
    assert found["coverage"]["share"] == 3 / (30 * 40)
    assert found["distribution"]["spread"] == pytest.approx(0.2)
    assert found["agreement"]["all"]["accuracy"] == 1.0
    assert found["cost"] == {
        "pairs": 4,
        "requests": 3,
        "tokens": 500,
        "usd": 0.06,
        "usd_per_1000_pairs": pytest.approx(20.0),
        "ledger": {"requests": 9},
    }
    assert found["failures"] == {
        "missing": {},
        "failed": {"refused": 2},
        "problems": {"foreign": 1},
        "stopped_by": "max_usd",
    }
    json.dumps(found, allow_nan=False)


def test_the_parts_of_a_mixture(tmp_path: Path, split: LeaveOneOut) -> None:
    teacher = {
        "name": "a+b",
        "weights": [1, 3],
        "teachers": [{"name": "a", "model": "x", "mean": 0.5}, {"name": "b"}],
    }
    rows = [(1, 2, 0.9, "near", 3, -1, 0, 1)]
    table = _written(tmp_path / "scores", split, rows, teacher=teacher)
    found = inspect_table(table, split)
    assert found["teacher"]["teachers"] == [{"name": "a", "model": "x"}, {"name": "b"}]
    assert found["teacher"]["weights"] == [1, 3]
    assert found["agreement"] is None


def test_all_scores_missing(tmp_path: Path, split: LeaveOneOut) -> None:
    rows = [(1, 2, None, "near", 3, -1, 0, 0)]
    found = inspect_table(_written(tmp_path / "scores", split, rows), split)
    assert (found["pairs"], found["missing"]) == (0, 1)
    assert found["distribution"] is None and found["agreement"] is None
    assert found["coverage"]["users"]["all"]["scored"] == 0
    assert found["coverage"]["origins"] == {}
    assert found["cost"]["usd_per_1000_pairs"] is None
    json.dumps(found, allow_nan=False)
