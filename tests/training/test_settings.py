from typing import Any

import pytest
from pydantic import ValidationError

from keras_sllmr.layers.gate import OBJECTIVES, SIGNALS
from keras_sllmr.training.settings import SelectiveSettings, TrainSettings


def test_defaults_follow_the_paper() -> None:
    settings = TrainSettings()
    assert (settings.selective.weight, settings.selective.margin) == (0.1, 0.5)
    assert settings.learning_rate == 1e-3
    assert settings.selective.signals == SIGNALS


def test_round_trip_through_json() -> None:
    settings = TrainSettings.model_validate(
        {"selective": {"signals": ["cold"]}, "batch": {"rows": 64}}
    )
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_can_be_set(objective: Any) -> None:
    assert SelectiveSettings(gate_objective=objective).gate_objective == objective


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 3},
        {"epochs": 0},
        {"patience": 0},
        {"learning_rate": 0},
        {"batch": {"rows": 7}},
        {"batch": {"rows": 0}},
        {"batch": {"tail_share": 1.0}},
        {"selective": {"weight": -0.1}},
        {"selective": {"margin": 0}},
        {"selective": {"gate_objective": "free"}},
        {"selective": {"signals": ["cold", "price"]}},
        {"selective": {"signals": []}},
        {"backbone": {"history_length": 0}},
    ],
)
def test_what_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainSettings.model_validate(wrong)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainSettings().epochs = 3  # type: ignore[misc]
