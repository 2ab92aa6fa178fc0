from typing import Any, get_args

import pytest
from pydantic import ValidationError

from keras_sllmr.layers.gate import OBJECTIVES, SIGNALS
from keras_sllmr.losses.pairwise_hinge import FORMS
from keras_sllmr.losses.registry import BASE_LOSSES
from keras_sllmr.training.settings import SelectiveSettings, Signal, TrainSettings
from keras_sllmr.training.signals import ITEM_SIGNALS, PAIR_SIGNALS
from keras_sllmr.training.uncertainty import UNCERTAINTIES, uncertainty_named


def test_defaults_follow_the_paper() -> None:
    settings = TrainSettings()
    assert settings.selective.margin == 0.5
    assert settings.learning_rate == 1e-3
    assert settings.selective.signals == SIGNALS
    assert settings.selective.form == "hinge"
    assert settings.loss == "bce" and settings.selective.max_pairs is None


def test_the_default_regularizer_goes_beyond_the_paper() -> None:
    assert TrainSettings().selective.regularizer == "evidence"


@pytest.mark.parametrize("name", ["evidence", "pairwise", "pointwise"])
def test_every_regularizer_can_be_set(name: Any) -> None:
    assert SelectiveSettings(regularizer=name).regularizer == name


def test_round_trip_through_json() -> None:
    settings = TrainSettings.model_validate(
        {"selective": {"signals": ["cold"]}, "batch": {"rows": 64}}
    )
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_can_be_set(objective: Any) -> None:
    assert SelectiveSettings(gate_objective=objective).gate_objective == objective


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_set(form: Any) -> None:
    assert SelectiveSettings(form=form).form == form


@pytest.mark.parametrize("loss", BASE_LOSSES)
def test_every_base_loss_can_be_set(loss: Any) -> None:
    assert TrainSettings(loss=loss).loss == loss


@pytest.mark.parametrize("name", ["entropy", "confidence", "mc_dropout"])
def test_every_uncertainty_that_needs_no_models_can_be_set(name: Any) -> None:
    settings = SelectiveSettings(uncertainty=name)
    assert isinstance(uncertainty_named(settings.uncertainty), UNCERTAINTIES[name])


def test_the_signals_are_the_ones_that_can_be_computed() -> None:
    assert get_args(Signal) == (*ITEM_SIGNALS, *PAIR_SIGNALS)
    assert SelectiveSettings(signals=get_args(Signal)).signals == get_args(Signal)


def test_an_unknown_signal_is_told_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="'log_history'.*'score_gap'.*'margin'"):
        SelectiveSettings.model_validate({"signals": ["price"]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"epoch": 3},
        {"epochs": 0},
        {"patience": 0},
        {"learning_rate": 0},
        {"batch": {"rows": 1}},
        {"batch": {"negatives": 0}},
        {"batch": {"negative_sampling": "popular"}},
        {"batch": {"gate_probes": 1}},
        {"selective": {"slope": 0}},
        {"selective": {"shuffled_from": -1}},
        {"batch": {"rows": 0}},
        {"batch": {"tail_share": 1.0}},
        {"selective": {"weight": -0.1}},
        {"selective": {"margin": 0}},
        {"selective": {"gate_objective": "free"}},
        {"selective": {"signals": ["cold", "price"]}},
        {"selective": {"signals": []}},
        {"selective": {"signals": ["cold", "cold"]}},
        {"selective": {"form": "square"}},
        {"selective": {"max_pairs": 0}},
        {"selective": {"regularizer": "listwise"}},
        {"selective": {"uncertainty": "ensemble"}},
        {"loss": "hinge"},
        {"backbone": {"history_length": 0}},
    ],
)
def test_what_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainSettings.model_validate(wrong)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainSettings().epochs = 3  # type: ignore[misc]
