import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.ratings import Ratings
from keras_sllmr.settings import settings_of

NAMES = ("coherence", "completeness", "relevance", "consistency")
RATINGS = Ratings(names=NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (RATINGS.example, [10, 10, 10, 10]),
        (json.dumps(dict(zip(reversed(NAMES), [1, 2, 3, 4], strict=True))), [4, 3, 2, 1]),
        ('Sure: {"coherence": 7, "completeness": 1, "relevance": 2, "consistency": 3, "x": 9}', [7, 1, 2, 3]),
        ("8 7 6 5", [8, 7, 6, 5]),
        ("Coherence: 8\nCompleteness: 7.5,\nrelevance 6.\nConsistency (10)", [8, 7.5, 6, 10]),
        # Nothing is guessed.
        ("", None),
        ("good, good, bad, good", None),
        ("8 7 6", None),
        ("8 7 6 5 4", None),
        ("8 7 6 11", None),
        ("8 7 6 0", None),
        ("8 7 6 -5", None),
        ("1. 8\n2. 7\n3. 6\n4. 5", None),
        ('{"coherence": 7, "completeness": 1, "relevance": 2}', None),
        ('{"coherence": 7, "completeness": 1, "relevance": 2, "consistency": 11}', None),
        ('{"coherence": 7, "completeness": 1, "relevance": 2, "consistency": "3"}', None),
        ('{"coherence": true, "completeness": 1, "relevance": 2, "consistency": 3}', None),
        ('{"coherence": NaN, "completeness": 1, "relevance": 2, "consistency": 3}', None),
    ],
)  # fmt: skip
def test_reading(text: str, expected: list[float] | None) -> None:
    assert RATINGS.read(text) == expected


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    found = RATINGS.read(text)
    assert found is None or (len(found) == 4 and 1 <= min(found) <= max(found) <= 10)


def test_the_schema_is_strict() -> None:
    schema = RATINGS.answer_schema
    assert schema["required"] == list(NAMES) and not schema["additionalProperties"]
    bounds = {"type": "integer", "minimum": 1, "maximum": 10}
    assert schema["properties"] == dict.fromkeys(NAMES, bounds)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"names": []}, "names"),
        ({"names": ["a", "a"]}, "must be different"),
        ({"names": ["a"], "low": 10}, "`low` must be less than `high`"),
    ],
)
def test_rules(values: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        settings_of(Ratings, values, "ratings")
