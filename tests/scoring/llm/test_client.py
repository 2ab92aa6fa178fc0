import asyncio
import contextlib
import json
import logging
import socket
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.client import (
    Client,
    Unanswered,
    endpoint_id,
    public_url,
    read_answer,
)
from keras_sllmr.scoring.llm.request import CHAT, EMBEDDINGS, Answer, Request, Usage

KEY = "a-key-of-0815-and-4711"
REQUEST = Request(CHAT, {"model": "m", "messages": []})
ANSWER: dict[str, Any] = {
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"content": "Hello"}}],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2},
}
DATE = datetime(2030, 1, 31, 23, 59, 50, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)


def _send(base_url: str, request: Request = REQUEST, *, timeout: float = 5.0) -> Answer:
    async def main() -> Answer:
        async with contextlib.aclosing(
            Client(base_url=base_url, timeout=timeout)
        ) as client:
            return await client.send(request)

    return asyncio.run(main())


def _failure(base_url: str, *, timeout: float = 5.0) -> Unanswered:
    with pytest.raises(Unanswered) as caught:
        _send(base_url, timeout=timeout)
    return caught.value


def _says(status: int, payload: Any, *headers: str) -> Callable[..., None]:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    lines = "".join(f"{header}\r\n" for header in headers).encode()
    return lambda connection, *_: connection.send(status, body, lines)


def test_an_answer(endpoint: Callable[..., Any]) -> None:
    served = endpoint(respond=_says(200, ANSWER))
    assert _send(served.base_url) == Answer(
        content="Hello", finish="stop", usage=Usage(5, 2)
    )
    assert json.loads(served.bodies[0]) == REQUEST.body


@pytest.mark.parametrize(
    ("status", "retry", "down", "final"),
    [
        (400, False, False, False),
        (401, False, False, True),
        (402, False, False, True),
        (403, False, False, True),
        (404, False, False, True),
        (405, False, False, True),
        (408, True, False, False),
        (409, True, False, False),
        (413, False, False, False),
        (422, False, False, False),
        (425, True, False, False),
        (429, True, False, False),
        (500, True, True, False),
        (502, True, True, False),
        (503, True, True, False),
        (504, True, True, False),
        (529, True, True, False),
    ],
)
def test_statuses(
    endpoint: Callable[..., Any], status: int, retry: bool, down: bool, final: bool
) -> None:
    served = endpoint(respond=_says(status, {"error": {"message": "no such luck"}}))
    failure = _failure(served.base_url)
    assert failure.reason == f"http {status}" and "no such luck" in failure.message
    assert (failure.retry, failure.down, failure.final) == (retry, down, final)
    assert not failure.billed and failure.retry_after is None
    assert len(served.bodies) == 1


def test_no_money_left(endpoint: Callable[..., Any]) -> None:
    error = {"message": "You exceeded your quota", "code": "insufficient_quota"}
    failure = _failure(endpoint(respond=_says(429, {"error": error})).base_url)
    assert (failure.reason, failure.retry, failure.final) == (
        "out of quota",
        False,
        True,
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        (["retry-after: 7"], 7),
        (["retry-after: 0.25"], 0.25),
        (["retry-after: -3"], 0),
        (["retry-after-ms: 1500", "retry-after: 9"], 1.5),
        (["retry-after-ms: soon", "retry-after: 9"], 9),
        (
            [
                f"date: {format_datetime(DATE, usegmt=True)}",
                f"retry-after: {format_datetime(DATE + timedelta(seconds=40), True)}",
            ],
            40,
        ),
        ([f"retry-after: {format_datetime(DATE - timedelta(days=9999), True)}"], 0),
        (["retry-after: soon"], None),
    ],
)
def test_retry_after(
    endpoint: Callable[..., Any], headers: list[str], seconds: float | None
) -> None:
    served = endpoint(respond=_says(429, {"error": {}}, *headers))
    assert _failure(served.base_url).retry_after == seconds


def test_retry_after_a_date_by_the_own_clock(endpoint: Callable[..., Any]) -> None:
    later = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), True)
    served = endpoint(respond=_says(503, {"error": {}}, f"retry-after: {later}"))
    assert _failure(served.base_url).retry_after == pytest.approx(89, abs=2)


def test_a_timeout_may_be_billed(endpoint: Callable[..., Any]) -> None:
    served = endpoint(respond=lambda *_: None)
    failure = _failure(served.base_url, timeout=0.2)
    assert (failure.reason, failure.retry, failure.down) == ("timeout", True, True)
    assert failure.billed


def test_a_body_that_drips_times_out_as_a_whole(endpoint: Callable[..., Any]) -> None:
    def drip(connection: Any, *_: Any) -> None:
        connection.transport.write(b"HTTP/1.1 200 -\r\ncontent-length: 999\r\n\r\n")
        for number in range(50):
            asyncio.get_running_loop().call_later(
                number * 0.05, connection.transport.write, b" "
            )

    failure = _failure(endpoint(respond=drip).base_url, timeout=0.3)
    assert failure.reason == "timeout" and failure.billed


def test_a_refused_connection_is_not_billed() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failure = _failure(f"http://127.0.0.1:{port}/v1")
    assert (failure.reason, failure.retry, failure.down) == ("refused", True, True)
    assert not failure.billed


def test_no_such_host_is_not_billed() -> None:
    failure = _failure("http://no-such-host.invalid/v1")
    assert (failure.reason, failure.billed) == ("refused", False)


def _cut(connection: Any, *_: Any) -> None:
    connection.transport.write(b"HTTP/1.1 200 -\r\ncontent-length: 99\r\n\r\n{")
    connection.transport.close()


@pytest.mark.parametrize("respond", [lambda c, *_: c.transport.abort(), _cut])
def test_a_lost_connection_may_be_billed(
    endpoint: Callable[..., Any], respond: Callable[..., None]
) -> None:
    failure = _failure(endpoint(respond=respond).base_url)
    assert (failure.reason, failure.retry, failure.down) == ("connection", True, True)
    assert failure.billed


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps(ANSWER).encode()[:60],
        b"<html>Please log in</html>",
        b"",
        b"[]",
        b"null",
        b"7",
        {"error": {"message": "200 all the same"}},
        {"choices": "none"},
        {"choices": [7]},
        {
            "choices": [
                {"message": {}, "logprobs": {"content": [{"top_logprobs": [1]}]}}
            ]
        },
        {"data": [{"index": 0}]},
        {"data": [{"index": 0, "embedding": ["a"]}]},
        {"data": [{"index": n, "embedding": [0.0] * n} for n in (1, 2)]},
        {**ANSWER, "usage": {"prompt_tokens": "many"}},
    ],
)
def test_an_unreadable_200_is_retried_and_may_be_billed(
    endpoint: Callable[..., Any], payload: Any
) -> None:
    failure = _failure(endpoint(respond=_says(200, payload)).base_url)
    assert (failure.reason, failure.retry, failure.billed) == ("unreadable", True, True)
    assert not failure.final and not failure.down


def test_choices() -> None:
    assert read_answer({"choices": []}) == Answer(finish="none")
    assert read_answer({"choices": None}) == Answer(finish="none")
    assert read_answer({"choices": [{}]}) == Answer()
    refused = {"message": {"content": None, "refusal": "I won't"}}
    assert read_answer({"choices": [refused]}).finish == "content_filter"
    assert read_answer(json.dumps(ANSWER)).content == "Hello"
    cached = {"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4}}
    assert read_answer({"choices": [], "usage": cached}).usage == Usage(9, 0, 4)
    below = {"prompt_tokens": -9, "completion_tokens": None}
    assert read_answer({"choices": [], "usage": below}).usage == Usage()


def test_log_probabilities_are_the_first_tokens() -> None:
    first = [{"token": "Yes", "logprob": -0.25}, {"token": "No", "logprob": -2}]
    content = [{"token": "Yes", "top_logprobs": first}, {"token": "."}]
    choice = {"message": {"content": "Yes."}, "logprobs": {"content": content}}
    answer = read_answer({"choices": [choice]})
    assert answer.top_logprobs == (("Yes", -0.25), ("No", -2.0))
    for empty in (None, {}, {"content": None}, {"content": []}):
        assert not read_answer({"choices": [{"logprobs": empty}]}).top_logprobs


def test_vectors_come_by_index(endpoint: Callable[..., Any]) -> None:
    rows = [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": [1, 2]}]
    answer = read_answer({"data": rows, "usage": {"prompt_tokens": 6}})
    assert answer.vectors is not None and answer.usage == Usage(6)
    np.testing.assert_array_equal(answer.vectors, np.float32([[1, 2], [3, 4]]))
    request = Request(EMBEDDINGS, {"model": "m", "input": ["a", "b", "c"]})
    answer = _send(endpoint().base_url, request)
    assert answer.vectors is not None and answer.vectors.shape == (3, 16)


def test_the_key_is_in_no_message(
    endpoint: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said = (
        f"Incorrect API key provided: {KEY}; sk-proj-ABCDEF***uvw, Bearer abc123def456"
    )
    for payload in ({"error": {"message": said, "code": KEY}}, said.encode()):
        served = endpoint(respond=_says(400, payload, f"x-key: {KEY}"))
        failure = _failure(served.base_url)
        shown = "".join(traceback.format_exception(failure)) + repr(failure)
        for secret in (KEY, "ABCDEF", "uvw", "abc123"):
            assert secret not in shown + failure.message + failure.reason
    assert KEY not in caplog.text
    scrubbed = Client().scrub(said)
    assert scrubbed == "Incorrect API key provided: ***; sk-***, Bearer-***"


def test_a_key_or_an_endpoint_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Client().name == "openai"
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ConfigError, match="environment variable OPENAI_API_KEY"):
        Client()
    with pytest.raises(ConfigError, match="environment variable MY_KEY"):
        Client(api_key_env="MY_KEY")
    assert Client(base_url="http://localhost/v1").name == "http://localhost/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    assert Client().name == "http://elsewhere/v1"


def test_a_timeout_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="`timeout` must be positive"):
        Client(timeout=0)


def test_what_stands_for_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://user:secret@example.org:8443/v1/?token=secret#secret"
    assert public_url(url) == endpoint_id(url) == "https://example.org:8443/v1"
    assert endpoint_id(None) == "openai"
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert endpoint_id(None) == "https://example.org:8443/v1"
