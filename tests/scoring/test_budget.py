from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.budget import ask_order, expected_benefit
from keras_sllmr.store.split import LeaveOneOut

SplitOf = Callable[[list[list[int]], int], LeaveOneOut]

# Training events: all but the last two. Items 9 and 10 are the tail, seen by none or one.
HISTORIES = [
    [1, 2, 3, 4, 5, 6],
    [1, 10, 3, 4],
    [1, 4, 5, 6, 7, 8, 2, 3],
    [2, 3, 5, 6, 7, 8, 1, 4],
]


@pytest.fixture
def split(split_of: SplitOf) -> LeaveOneOut:
    return split_of(HISTORIES, 10)


def test_the_formula(split: LeaveOneOut) -> None:
    benefit = expected_benefit(
        split,
        uncertainty=np.array([9.0, 1.0, 3.0, 2.0, 2.0]),
        tail_weight=2,
        uncertainty_weight=0.5,
    )
    # One of four: the mean is 1/4 and the deviation sqrt(3)/4, whatever its height.
    one, rest = np.sqrt(3), -1 / np.sqrt(3)
    q = np.array([-1, 1, 0, 0]) / np.sqrt(0.5)
    expected = 3 * np.array([rest, one, rest, rest]) + 0.5 * q
    assert benefit.dtype == np.float64 and benefit[0] == 0
    np.testing.assert_allclose(benefit[1:], expected)


@pytest.mark.parametrize("cold_max", [0, 99])
def test_what_is_the_same_for_all_counts_nothing(
    split: LeaveOneOut, cold_max: int
) -> None:
    benefit = expected_benefit(
        split, cold_max=cold_max, tail_weight=0, uncertainty=np.full(5, 0.7)
    )
    assert benefit.tolist() == [0] * 5


def test_a_user_whose_uncertainty_is_unknown_is_as_the_mean(split: LeaveOneOut) -> None:
    uncertainty = np.array([np.nan, 1.0, np.nan, 3.0, np.nan])
    benefit = expected_benefit(
        split, uncertainty=uncertainty, cold_weight=0, tail_weight=0
    )
    assert benefit.tolist() == [0, -1, 0, 1, 0]
    nothing = expected_benefit(split, uncertainty=np.full(5, np.nan))
    np.testing.assert_array_equal(nothing, expected_benefit(split))


def test_held_out_events_change_nothing(split_of: SplitOf, split: LeaveOneOut) -> None:
    others = [[*history[:-2], 9, 10] for history in HISTORIES]
    np.testing.assert_array_equal(
        expected_benefit(split_of(others, 10)), expected_benefit(split)
    )


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["cold_weight", "tail_weight", "uncertainty_weight"])
def test_wrong_weights(split: LeaveOneOut, name: str, weight: float) -> None:
    options: dict[str, Any] = {name: weight}
    with pytest.raises(ConfigError, match=f"non-negative.*{name}={weight}"):
        expected_benefit(split, **options)


@pytest.mark.parametrize("uncertainty", [np.zeros(4), np.full(5, np.inf)])
def test_wrong_uncertainty(split: LeaveOneOut, uncertainty: np.ndarray) -> None:
    with pytest.raises(ConfigError, match="`uncertainty` must hold .* for 4 users"):
        expected_benefit(split, uncertainty=uncertainty)


def test_order() -> None:
    benefit = np.array([99, 0.5, 2, 0.5, -1])
    assert ask_order(benefit, order="user").tolist() == [1, 2, 3, 4]
    found = [ask_order(benefit, chance=0, seed=seed).tolist() for seed in range(20)]
    assert {tuple(users) for users in found} == {(2, 1, 3, 4), (2, 3, 1, 4)}
    assert ask_order(np.zeros(1)).tolist() == []


@given(
    st.lists(st.integers(-2, 2), max_size=30),
    st.integers(0, 99),
    st.sampled_from(["benefit", "random", "user"]),
)
def test_everybody_once(values: list[int], seed: int, order: Any) -> None:
    benefit = np.array([0.0, *values])
    users = ask_order(benefit, order=order, chance=0, seed=seed)
    assert sorted(users) == list(range(1, len(benefit)))
    again = ask_order(benefit, order=order, chance=0, seed=seed)
    assert users.tolist() == again.tolist()
    if order == "benefit":
        assert (np.diff(benefit[users]) <= 0).all()


def test_chance_draws_in_proportion_to_the_benefit() -> None:
    # Two kinds of users: of the first half drawn, e^(b/T) to 1 are of the better kind.
    better = np.arange(20_001) % 2
    for benefit, chance in ((0.0, 2.0), (np.log(3), 1.0), (2 * np.log(3), 2.0)):
        users = ask_order(better * benefit, chance=chance, seed=3)
        first = better[users[:500]].mean()
        odds = np.exp(benefit / chance)
        assert first == pytest.approx(odds / (1 + odds), abs=0.06)


def test_random_order_asks_nothing_of_the_benefit() -> None:
    one, other = np.arange(50.0), np.zeros(50)
    assert (
        ask_order(one, order="random").tolist()
        == ask_order(other, order="random").tolist()
    )
    assert ask_order(one, order="random").tolist() != sorted(range(1, 50))


def test_wrong_order_or_benefit() -> None:
    order: Any = "best"
    with pytest.raises(ConfigError, match="benefit, random, user.*order='best'"):
        ask_order(np.zeros(3), order=order)
    with pytest.raises(ConfigError, match="`benefit` must hold .* with 1 NaN"):
        ask_order(np.array([0, np.nan]))
    with pytest.raises(ConfigError, match="`chance` must not be negative.*-1"):
        ask_order(np.zeros(3), chance=-1)
    with pytest.raises(ConfigError, match=r"shape \[2, 2\]"):
        ask_order(np.zeros((2, 2)))
