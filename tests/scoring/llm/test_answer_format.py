from typing import Any

import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.answer_format import AnswerFormat
from keras_sllmr.settings import settings_of


def test_schema_of_scores() -> None:
    form = AnswerFormat(kind="scores", low=-1, high=2, entries="list", score="grade")
    assert form.schema_for(3) == {
        "type": "object",
        "properties": {
            "list": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "integer", "enum": [1, 2, 3]},
                        "grade": {"type": "number", "minimum": -1.0, "maximum": 2.0},
                    },
                    "required": ["id", "grade"],
                    "additionalProperties": False,
                },
                "minItems": 3,
                "maxItems": 3,
            }
        },
        "required": ["list"],
        "additionalProperties": False,
    }


def test_schema_of_whole_scores() -> None:
    schema = AnswerFormat(kind="scores", high=100, integer=True).schema_for(1)
    assert schema is not None
    score = schema["properties"]["answers"]["items"]["properties"]["score"]
    assert score == {"type": "integer", "minimum": 0, "maximum": 100}
    assert isinstance(score["maximum"], int)


def test_schema_of_an_order() -> None:
    schema = AnswerFormat(kind="ranking").schema_for(2)
    assert schema is not None
    assert schema["properties"]["answers"] == {
        "type": "array",
        "items": {"type": "integer", "enum": [1, 2]},
        "minItems": 2,
        "maxItems": 2,
    }
    assert schema["required"] == ["answers"]


def test_yes_no_has_no_schema() -> None:
    assert AnswerFormat(kind="yes_no").schema_for(1) is None


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({}, "answer.kind: Field required"),
        ({"kind": "stars"}, "answer.kind: Input should be 'scores'"),
        ({"kind": "scores", "low": 1}, "`low` must be less than `high`"),
        ({"kind": "scores", "low": -1e308, "high": 1e308}, "must be less than"),
        ({"kind": "scores", "high": float("nan")}, "answer.high"),
        ({"kind": "scores", "high": 1.5, "integer": True}, "must be whole"),
        ({"kind": "scores", "id": "x", "score": "x"}, "different names"),
        ({"kind": "scores", "entries": ""}, "answer.entries"),
        ({"kind": "scores", "best": 1}, "answer.best: Extra inputs"),
    ],
)
def test_rules(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        settings_of(AnswerFormat, values, "answer")
