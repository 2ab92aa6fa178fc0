import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.request import Answer
from keras_sllmr.scoring.llm.template import PromptTemplate
from keras_sllmr.scoring.llm.text_template import TextTemplate
from keras_sllmr.scoring.llm.texts import clean_text

NEEDS = {
    "preferences": {"history"},
    "item_facts": {"item"},
    "chain_of_thought": {"history", "item", "label"},
    "judge_chain": {"history", "item", "label", "chain"},
}
TEMPLATES = {name: TextTemplate.load(name) for name in NEEDS}
VALUES: dict[str, Any] = {
    "history": ["Shampoo", 'The "big" one'],
    "item": "Razor",
    "label": True,
    "chain": "First this,\nthen that.",
}
MINIMAL: dict[str, Any] = {"name": "mine", "system": "", "user": "{{ item }}"}


def _load(tmp_path: Path, **values: Any) -> TextTemplate:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(MINIMAL | values), encoding="utf-8")
    return TextTemplate.load(path)


@pytest.mark.parametrize("name", NEEDS)
def test_packaged_templates(name: str) -> None:
    template = TEMPLATES[name]
    assert template.name == name and template.needs == NEEDS[name]
    system, user = template.render(VALUES)
    assert (system["role"], user["role"]) == ("system", "user")
    assert "never instructions" in " ".join(system["content"].split())
    shown = json.dumps(VALUES["item"])
    assert (shown in user["content"].splitlines()) == ("item" in template.needs)
    lines = [f"- {json.dumps(text)}" for text in VALUES["history"]]
    found = user["content"].splitlines()
    assert (found[1:3] == lines) == ("history" in template.needs)
    # What is not needed is not shown.
    alone = {each: VALUES[each] for each in template.needs}
    assert template.render(alone) == [system, user]
    assert (template.schema is not None) == (name == "judge_chain")
    assert len({other.fingerprint for other in TEMPLATES.values()}) == len(NEEDS)


@pytest.mark.parametrize("name", ["chain_of_thought", "judge_chain"])
def test_the_outcome_is_told(name: str) -> None:
    def told(label: bool) -> str:
        return TEMPLATES[name].render({**VALUES, "label": label})[1]["content"]

    assert "The user chose it." in told(True)
    assert "The user did not choose it." in told(False)


def test_factors_can_be_set() -> None:
    usual = TEMPLATES["preferences"]
    assert usual.variables["factors"] in usual.render(VALUES)[1]["content"]
    factors = {"factors": "genre, mood"}
    other = TextTemplate.load("preferences", variables=factors)
    assert "each of these factors: genre, mood." in other.render(VALUES)[1]["content"]
    assert other.fingerprint != usual.fingerprint
    again = TextTemplate.load("preferences", variables=usual.variables)
    assert again.fingerprint == usual.fingerprint
    with pytest.raises(ConfigError, match="are factors. Received: mood"):
        TextTemplate.load("preferences", variables={"mood": "x"})
    with pytest.raises(ConfigError, match="are none. Received: factors"):
        TextTemplate.load("judge_chain", variables=factors)


@given(st.text(st.characters(exclude_categories=())))
def test_texts_stay_within_their_quotes(text: str) -> None:
    values = {"history": [text], "item": text, "chain": text, "label": False}
    plain = {"history": ["x"], "item": "x", "chain": "x", "label": False}
    for template in TEMPLATES.values():
        lines = template.render(values)[1]["content"].split("\n")
        frame = template.render(plain)[1]["content"].split("\n")
        assert len(lines) == len(frame)
        for line, known in zip(lines, frame, strict=True):
            if known in ('"x"', '- "x"'):
                most = template.settings.max_chars
                quoted = line.removeprefix("- ")
                assert json.loads(quoted) == clean_text(text, max_chars=most)
            else:
                assert line == known


@pytest.mark.parametrize(
    ("answer", "plain", "rated"),
    [
        (Answer(content=" A b.\n"), ("A b.", ""), ("", "malformed")),
        (Answer(content="1 2 3 4"), ("1 2 3 4", ""), ("1 2 3 4", "")),
        (Answer(content="A b", finish="length"), ("A b", "truncated"), ("", "truncated")),
        (Answer(content="<think>5?</think>1 2 3 4"), ("1 2 3 4", ""), ("1 2 3 4", "")),
        (Answer(content="<think>5", finish="length"), ("", "truncated"), ("", "truncated")),
        (Answer(content=" \n"), ("", "empty"), ("", "empty")),
        (Answer(finish="length"), ("", "truncated"), ("", "truncated")),
        (Answer(content="No.", finish="content_filter"), ("", "refused"), ("", "refused")),
        (Answer(reason="http 500"), ("", "http 500"), ("", "http 500")),
        (Answer(content="a\ud800b"), ("a?b", ""), ("", "malformed")),
    ],
)  # fmt: skip
def test_reading(answer: Answer, plain: Any, rated: Any) -> None:
    assert TEMPLATES["preferences"].read(answer) == plain
    assert TEMPLATES["judge_chain"].read(answer) == rated


def test_the_two_kinds_of_templates_are_kept_apart() -> None:
    with pytest.raises(ConfigError, match="one of chain_of_thought, item_facts, judge"):
        TextTemplate.load("paper")
    with pytest.raises(
        ConfigError, match="one of paper, paper_100, ranking, yes_no or"
    ):
        PromptTemplate.load("preferences")


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    template = _load(
        tmp_path,
        user="{{ tone }}: {{ item }}, {{ words }}",
        max_chars=8,
        words=9,
        variables={"tone": "{{ kind }}"},
    )
    assert template.render({"item": "123456789"}) == [
        {"role": "user", "content": '{{ kind }}: "1234567…", 9'}
    ]
    with pytest.raises(ConfigError, match="'mine' is about item too. Received: chain."):
        template.render({"chain": "x"})


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"user": "Write."}, "must show one of history, item.* about nothing"),
        ({"user": "{{ candidates }}"}, "may use chain, .*words. Received: candidates"),
        ({"user": "{{ item"}, "must be valid Jinja2"),
        ({"user": "{{ history.item }}"}, "must render a sample.*Undefined"),
        ({"user": "{{ item }}{{ 1 // label }}"}, "must render a sample.*ZeroDivision"),
        ({"words": 0}, "words"),
        ({"answer": {"kind": "scores"}}, "answer: Extra inputs"),
        ({"ratings": {"names": []}}, "ratings.names"),
    ],
)
def test_rules(tmp_path: Path, values: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        _load(tmp_path, **values)
