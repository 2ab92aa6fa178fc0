from dataclasses import replace
from typing import Any

import pytest

from keras_sllmr.errors import StoreError
from keras_sllmr.training.methods import METHODS
from keras_sllmr.training.offline_inputs import (
    NAMES,
    OfflineInputs,
    needed,
    opened,
)
from keras_sllmr.training.settings import TrainSettings

SETTINGS = TrainSettings()
WITHOUT_TEXT = TrainSettings(backbone={"text": False})


def test_what_methods_need() -> None:
    found = {method: needed(method, WITHOUT_TEXT) for method in METHODS}
    assert found == {
        "none": (),
        "kd": ("row_scores",),
        "kar": ("knowledge",),
        "llm_cf": ("text", "examples"),
        "pointwise": ("scores",),
        "global": ("scores",),
        "sllmr": ("scores",),
    }
    assert needed("none", SETTINGS) == ("text",)


def test_a_method_gets_what_it_needs_and_no_more(offline: OfflineInputs) -> None:
    for method in METHODS:
        used = offline.used(method, SETTINGS)
        given = {name for name in NAMES if used.tables[name] is not None}
        assert given == set(needed(method, SETTINGS))
        marks = used.fingerprints
        assert {name for name, mark in marks.items() if mark is not None} == given


@pytest.mark.parametrize(
    ("method", "lacking", "said"),
    [
        ("sllmr", "scores", "'sllmr' needs a score table. Run `sllmr score`."),
        ("kd", "row_scores", "'kd' needs the teacher's scores .*`sllmr score rows`."),
        ("kar", "knowledge", "'kar' needs knowledge vectors .*`sllmr knowledge`."),
        ("llm_cf", "examples", "'llm_cf' needs labelled examples .*`sllmr examples`."),
        ("llm_cf", "text", "'llm_cf' needs the items' text vectors. Run `sllmr enco"),
        ("none", "text", "backbone.text needs .*or set backbone.text to false."),
    ],
)
def test_what_is_missing(
    offline: OfflineInputs, method: Any, lacking: str, said: str
) -> None:
    with pytest.raises(StoreError, match=said):
        replace(offline, **{lacking: None}).used(method, SETTINGS)


def test_tables_are_opened_by_their_folders(world: Any, offline: OfflineInputs) -> None:
    paths = {name: offline.tables[name].path for name in NAMES}
    found = opened({**paths, "scores": None}, world.split.store)
    assert found.scores is None
    expected = {**offline.fingerprints, "scores": None}
    assert found.fingerprints == expected
    with pytest.raises(StoreError, match="should be a row_scores"):
        opened({"row_scores": paths["knowledge"]}, world.split.store)
