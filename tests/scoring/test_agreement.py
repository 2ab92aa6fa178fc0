from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.scoring.agreement import accuracy, agreement
from keras_sllmr.scoring.reliability import probe_pairs
from keras_sllmr.store.split import LeaveOneOut

SplitOf = Callable[[list[list[int]], int], LeaveOneOut]


def _pairs(users: list[int], right: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"user": users, "right": right})


def test_hand_computed_interval() -> None:
    # Users' sums about the mean ½ are 1, −1, 0 and 0: V = 4/3 · 2/64 = 1/24, so the
    # 8 pairs are worth 6.
    users = [1, 1, 2, 2, 3, 3, 4, 4]
    found = accuracy(_pairs(users, [1, 1, 0, 0, 1, 0, 0, 1]))
    z = 1.959964
    half = z / (1 + z**2 / 6) * np.sqrt(0.25 / 6 + z**2 / 144)
    assert (found["pairs"], found["users"], found["accuracy"]) == (8, 4, 0.5)
    assert found["low"] == pytest.approx(0.5 - half)
    assert found["high"] == pytest.approx(0.5 + half)


def test_users_that_are_of_one_mind_count_once() -> None:
    apart = accuracy(_pairs(list(range(40)), [0.0, 1.0] * 20))
    together = accuracy(_pairs([*[1] * 20, *[2] * 20], [0.0] * 20 + [1.0] * 20))
    assert together["high"] - together["low"] > 2 * (apart["high"] - apart["low"])


@pytest.mark.parametrize("right", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("users", [[1, 1, 1], [1, 2, 3]])
def test_no_certainty_from_few_users(users: list[int], right: float) -> None:
    found = accuracy(_pairs(users, [right] * 3))
    assert found["high"] - found["low"] > 0.4
    assert 0 <= found["low"] <= right <= found["high"] <= 1


@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.sampled_from([0.0, 0.5, 1.0])),
        min_size=1,
        max_size=30,
    )
)
@settings(max_examples=40, deadline=None)
def test_interval_holds_the_accuracy(rows: list[tuple[int, float]]) -> None:
    users, right = (list(column) for column in zip(*rows, strict=True))
    found = accuracy(_pairs(users, right))
    assert 0 <= found["low"] <= found["accuracy"] <= found["high"] <= 1
    assert found["low"] < found["high"]
    wrong = accuracy(_pairs(users, [1 - one for one in right]))
    assert wrong["low"] == pytest.approx(1 - found["high"])


@pytest.fixture
def few(split_of: SplitOf) -> LeaveOneOut:
    """Users with 2, 4, 8 and 16 training events; item 1 is everybody's."""
    return split_of([list(range(1, n + 3)) for n in (2, 4, 8, 16)], 30)


def _probes(rows: list[tuple[int, int, float, int]]) -> Any:
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    names = ("users", "items", "scores", "labels")
    return SimpleNamespace(**dict(zip(names, columns, strict=True)))


def test_hand_computed_slices(few: LeaveOneOut) -> None:
    # Training events of the items: 1 and 2 have 4, 3 and 4 have 3, 5 to 8 have 2, 9 to
    # 16 have 1, the others none. The tail of 6 is 17 to 22, the head 1 to 4, 7 and 8.
    table = _probes(
        [
            (1, 2, 0.9, 1),
            (1, 30, 0.1, 0),
            (2, 4, 0.5, 1),
            (2, 3, 0.5, 0),
            (3, 5, 0.2, 1),
            (3, 1, 0.6, 0),
            (3, 20, 0.0, 0),
            (4, 17, 0.7, 1),
            (4, 7, 0.8, 0),
        ]
    )
    found = agreement(probe_pairs(table, few), few)
    assert found is not None

    def right(group: str) -> dict[str, tuple[int, float]]:
        slices = found[group].items()
        return {name: (one["pairs"], one["accuracy"]) for name, one in slices}

    assert (found["all"]["pairs"], found["all"]["users"]) == (5, 4)
    assert found["all"]["accuracy"] == 0.5
    assert right("history") == {
        "1-3": (1, 1.0),
        "4-7": (1, 0.5),
        "8-15": (2, 0.5),
        "16+": (1, 0.0),
    }
    assert right("popularity") == {
        "tail": (1, 0.0),
        "middle": (2, 0.5),
        "head": (2, 0.75),
    }
    assert right("negative") == {
        "less_popular": (2, 1.0),
        "as_popular": (1, 0.5),
        "more_popular": (2, 0.0),
    }
    assert sum(one["pairs"] for one in found["gap"]) == 5
    assert found["gap"][-1]["accuracy"] == 1.0


def test_slices_without_a_pair_are_left_out(few: LeaveOneOut) -> None:
    table = _probes([(1, 2, 0.9, 1), (1, 30, 0.1, 0)])
    found = agreement(probe_pairs(table, few), few)
    assert found is not None
    groups = ("history", "popularity", "negative")
    assert [list(found[name]) for name in groups] == [
        ["1-3"],
        ["head"],
        ["less_popular"],
    ]
    assert len(found["gap"]) == 1


def test_no_probes(few: LeaveOneOut) -> None:
    assert agreement(probe_pairs(_probes([(1, 2, 0.9, -1)]), few), few) is None


def test_wide_tail_leaves_the_rest_to_the_head(few: LeaveOneOut) -> None:
    table = _probes([(1, 2, 0.9, 1), (1, 30, 0.1, 0), (2, 30, 0.2, 1), (2, 29, 0.1, 0)])
    found = agreement(probe_pairs(table, few), few, tail_share=0.8)
    assert found is not None
    assert set(found["popularity"]) == {"head", "tail"}
