from typing import get_args

import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.methods import (
    METHODS,
    label_of,
    method_named,
    used_settings,
    with_fixed,
)
from keras_sllmr.training.settings import TrainSettings


def test_every_name_is_a_method() -> None:
    assert set(METHODS) == set(get_args(Method))
    assert {name for name in METHODS if method_named(name).guided} == {
        "sllmr",
        "global",
        "pointwise",
    }
    assert len({spec.label for spec in METHODS.values()}) == len(METHODS)
    assert (label_of("llm_cf"), label_of("mine")) == ("LLM-CF", "mine")


def test_unknown_methods() -> None:
    with pytest.raises(ConfigError, match="one of none, kd, .*Received: method='KD'"):
        method_named("KD")


def test_what_makes_the_ablations() -> None:
    given = TrainSettings(selective={"slope": 2.0})
    selective = with_fixed("global", given).selective
    assert (selective.gate_objective, selective.slope) == ("fixed", 2.0)
    assert with_fixed("pointwise", given).selective.regularizer == "pointwise"
    for method in ("none", "sllmr", "kd", "kar", "llm_cf"):
        assert with_fixed(method, given) == given


def test_settings_of_other_methods_do_not_count() -> None:
    sections = {"selective", "kd", "kar", "llm_cf"}
    own = {"sllmr": "selective", "global": "selective", "pointwise": "selective"}
    for method in METHODS:
        used = used_settings(method, TrainSettings(learning_rate=0.5))
        expected = {own.get(method, method)} - {"none"}
        assert sections & set(used) == expected
        assert used["learning_rate"] == 0.5
    assert used_settings("kd", TrainSettings(kar={"shared": 7})) == used_settings(
        "kd", TrainSettings()
    )
    assert used_settings("global", TrainSettings())["selective"]["gate_objective"] == (
        "fixed"
    )
