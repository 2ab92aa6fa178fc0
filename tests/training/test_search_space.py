import optuna
import pytest
from pydantic import TypeAdapter, ValidationError

from keras_sllmr.errors import ConfigError
from keras_sllmr.training.search_space import (
    Choices,
    Range,
    SearchSpace,
    value_of,
    with_values,
)


def _suggested(part: Range | Choices) -> optuna.distributions.BaseDistribution:
    trial = optuna.create_study(storage=optuna.storages.InMemoryStorage()).ask()
    assert part.suggest(trial, "x") in part
    return trial.distributions["x"]


def test_ranges_as_optuna_has_them() -> None:
    of = optuna.distributions
    log = of.FloatDistribution(0.03, 3.0, log=True)
    assert _suggested(Range(low=0.03, high=3, log=True)) == log
    assert _suggested(Range(low=1, high=9)) == of.IntDistribution(1, 9)
    assert _suggested(Range(low=1, high=9, step=2)) == of.IntDistribution(1, 9, step=2)
    assert _suggested(Range(low=1, high=9.0)) == of.FloatDistribution(1, 9)
    tenths = of.FloatDistribution(0, 0.5, step=0.1)
    assert _suggested(Range(low=0, high=0.5, step=0.1)) == tenths
    named = Choices(choices=(None, 8, "a"))
    assert _suggested(named) == of.CategoricalDistribution((None, 8, "a"))


def test_membership() -> None:
    assert 1.5 in Range(low=1.0, high=2) and 1.5 not in Range(low=1, high=2)
    assert 3 not in Range(low=1, high=2) and None not in Range(low=1, high=2)
    assert None in Choices(choices=(None, 1)) and 2 not in Choices(choices=(None, 1))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"low": 2, "high": 2}, "`low` must be below `high`"),
        ({"low": 0, "high": 2, "log": True}, "`low` must be positive"),
        ({"low": 1, "high": 2, "log": True, "step": 1}, "`step` left out"),
        ({"low": 1, "high": float("inf")}, "must be finite"),
        ({"low": 1, "high": 2, "step": 0}, "greater than 0"),
        ({"low": 1, "hihg": 2}, "Extra inputs"),
        ({"choices": [[1]]}, "choices"),
    ],
)
def test_wrong_ones(values: dict, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(SearchSpace).validate_python({"x": values})


def test_typed_ones_are_taken_as_they_are() -> None:
    space = {"x": Range(low=1, high=2), "y": Choices(choices=(1,))}
    assert TypeAdapter(SearchSpace).validate_python(space) == space


def test_dotted_names() -> None:
    part = Range(low=1, high=3)
    assert with_values(part, {"low": 2, "high": 4.5}) == Range(low=2, high=4.5)
    assert part.high == 3
    with pytest.raises(ConfigError, match="Received: 'low.x'"):
        with_values(part, {"low.x": 1})
    assert value_of({"a": {"b": 1}}, "a.b") == 1
    assert value_of({"a": {"b": 1}}, "a.c") is value_of({"a": 1}, "a.b") is None
