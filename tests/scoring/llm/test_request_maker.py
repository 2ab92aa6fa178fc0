import pickle
from typing import Any

import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.request import CHAT
from keras_sllmr.scoring.llm.request_maker import RequestMaker

MESSAGES = [{"role": "user", "content": "?"}]
SCHEMA = {"type": "object"}


def test_a_request_for_structured_output() -> None:
    maker = RequestMaker(model="m", parameters={"temperature": 0.2, "seed": 5})
    request = maker.chat(MESSAGES, schema=SCHEMA, n=10, attempt=2)
    assert (request.path, request.attempt) == (CHAT, 2)
    assert request.body == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0.2,
        "seed": 7,
        "max_tokens": 16 * 10 + 64,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
        },
    }
    assert maker.parameters == {"temperature": 0.2, "seed": 5}


def test_other_ways_to_ask_for_a_form() -> None:
    maker = RequestMaker(model="m", structured="json_object")
    body = maker.chat(MESSAGES, schema=SCHEMA, n=1).body
    assert body["response_format"] == {"type": "json_object"}
    maker = RequestMaker(model="m", structured="none")
    assert "response_format" not in maker.chat(MESSAGES, schema=SCHEMA, n=1).body


def test_the_limit_of_tokens() -> None:
    maker = RequestMaker(
        model="m",
        output_limit="max_completion_tokens",
        tokens_per_candidate=3,
        tokens_beside=1000,
    )
    body = maker.chat(MESSAGES, schema=SCHEMA, n=2).body
    assert body["max_completion_tokens"] == 1006
    assert "max_tokens" not in body


def test_a_yes_no_request() -> None:
    maker = RequestMaker(model="m", top_logprobs=5)
    request = pickle.loads(pickle.dumps(maker)).chat(MESSAGES, schema=None, n=1)
    assert request.body == {
        "model": "m",
        "messages": MESSAGES,
        "max_tokens": 1,
        "logprobs": True,
        "top_logprobs": 5,
    }


def test_a_request_for_a_text() -> None:
    maker = RequestMaker(model="m", parameters={"seed": 5}, tokens_beside=9)
    request = maker.text(MESSAGES, tokens=100, attempt=3)
    assert (request.path, request.attempt) == (CHAT, 3)
    assert request.body == {
        "model": "m",
        "messages": MESSAGES,
        "seed": 8,
        "max_tokens": 109,
    }
    body = maker.text(MESSAGES, tokens=100, schema=SCHEMA).body
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ({"model": ""}, "must be names"),
        ({"output_limit": ""}, "must be names"),
        ({"structured": "xml"}, "one of json_schema, json_object, none. Rec.*'xml'"),
        ({"tokens_per_candidate": 0}, "`tokens_per_candidate` must be at least 1"),
        ({"tokens_beside": -1}, "`tokens_beside` must be at least 0"),
        ({"top_logprobs": 1}, "`top_logprobs` must be at least 2"),
        ({"parameters": {"max_tokens": 5, "n": 2}}, "Received: max_tokens, n$"),
        ({"parameters": {"seed": True}}, "`seed` must be an integer"),
        ({"parameters": {"x": {1}}}, "JSON can hold. Received: x"),
        ({"parameters": {"x": float("nan")}}, "JSON can hold. Received: x"),
    ],
)
def test_rules(arguments: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        RequestMaker(**{"model": "m", **arguments})


def test_a_key_among_the_parameters_is_refused_unseen() -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        RequestMaker(model="m", parameters={"api_key": "sk-secret"})
    assert "sk-secret" not in str(caught.value)
