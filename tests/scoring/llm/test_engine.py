import asyncio
import hashlib
import itertools
import json
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import EndpointError, StoreError
from keras_sllmr.scoring.llm.caps import Caps
from keras_sllmr.scoring.llm.prices import Price
from keras_sllmr.scoring.llm.tokens import TokenCounter, completion_bound

PRICE = Price(prompt=1e6, completion=2e6)


def _bounds(question: Any) -> tuple[int, int]:
    body = question.next([]).body
    return TokenCounter("local").bound(body), completion_bound(body)


def test_every_question_is_asked_once(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint()
    done: list[int] = []
    asking = engine(served.base_url)
    report = asking.ask(plain(30, steps=3), done=done.append).report()
    assert report["seconds"] < 30
    del report["seconds"]
    assert report == {
        "questions": 30,
        "requests_sent": 90,
        "answered": 90,
        "from_ledger": 0,
        "failed": {},
        "ignored": 0,
        "stopped_by": None,
    }
    assert sorted(done) == list(range(30)) and len(served.bodies) == 90
    totals = asking.ledger.totals()
    assert totals.outcomes == {"answered": 90}
    answer = asking.ledger.get(plain(1)[0][1].next([]).key)
    assert json.loads(answer.content).keys() == {"ranking"}

    again = engine(served.base_url).ask(plain(32, steps=3))
    assert (again.sent, again.reused, again.questions) == (6, 90, 32)
    assert len(served.bodies) == 96


@pytest.mark.parametrize("many", [1, 3, 16])
def test_concurrency_is_reached_and_never_exceeded(
    endpoint: Callable[..., Any],
    engine: Callable[..., Any],
    plain: Callable[..., Any],
    many: int,
) -> None:
    served = endpoint(latency=0.03)
    engine(served.base_url, concurrency=many).ask(plain(2 * many + 3))
    assert served.most_under_way == many


def test_identical_requests_under_way_are_sent_once(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint(latency=0.05)
    tally = engine(served.base_url).ask(plain(1) * 6)
    assert (len(served.bodies), tally.answered, tally.reused) == (1, 1, 5)
    assert tally.questions == 6


def test_one_that_waited_for_a_failure_asks_itself(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint(latency=0.05)
    served.endpoint.fault = lambda body: "500" if len(served.bodies) < 2 else ""
    tally = engine(served.base_url, tries=1).ask(plain(1) * 2)
    assert tally.failed == {"http 500": 1} and tally.answered == 1


def test_the_endpoint_shall_answer_all_that_fails_at_first(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint(faults=0.5)
    transport = {"timeout": 1.0, "breaker_seconds": 0.05}
    asking = engine(served.base_url, concurrency=16, **transport)
    tally = asking.ask(plain(60))
    assert tally.answered == tally.questions == 60 and not tally.failed
    kinds = Counter(line["fault"] for line in served.log)
    assert tally.sent == asking.ledger.totals().requests
    outcomes = asking.ledger.totals().outcomes
    # On a busy machine some time out before they arrive, or before they are answered.
    assert kinds.total() <= tally.sent <= kinds.total() + outcomes["timeout"]
    assert 0 < outcomes["http 429"] <= kinds["429"] + kinds["429 retry-after"]
    assert 0 < outcomes["http 500"] <= kinds["500"]


def test_a_request_is_given_up_after_its_tries(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint()
    served.endpoint.fault = lambda body: "429" if b"user 1" in body else ""
    asking = engine(served.base_url, tries=3)
    tally = asking.ask(plain(3, steps=2))
    assert tally.failed == {"http 429": 1}
    assert (tally.questions, tally.sent, tally.answered) == (3, 4 + 3, 4)
    key = plain(3)[1][1].next([]).key
    assert asking.ledger.failure(key).reason == "http 429"
    # A later job asks it again.
    del served.endpoint.fault
    again = asking.ask(plain(3, steps=2))
    assert (again.sent, again.reused, again.failed) == (2, 4, {})
    assert asking.ledger.failure(key) is None


def test_a_refused_request_is_not_tried_again(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        bad = b"user 1" in body
        payload = connection.endpoint.answer(path, body)
        connection.send(400 if bad else 200, json.dumps(payload).encode())

    served = endpoint(respond=respond)
    tally = engine(served.base_url).ask(plain(3))
    assert tally.failed == {"http 400": 1} and tally.sent == 3


def test_retry_after_holds_everybody(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    times: list[float] = []

    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        times.append(time.monotonic())
        if len(times) == 9:
            return connection.send(429, b"{}", b"retry-after: 0.5\r\n")
        payload = connection.endpoint.answer(path, body)
        return connection.later(connection.send, 200, json.dumps(payload).encode())

    served = endpoint(respond=respond, latency=0.02)
    tally = engine(served.base_url, concurrency=4).ask(plain(40))
    assert tally.answered == 40
    # Those under way when it came are at most the other three.
    after = [each for each in times[9 + 3 :]]
    assert min(after) - times[8] >= 0.5
    assert len(times) == 41


def test_a_wait_that_is_too_long_ends_the_job(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    def respond(connection: Any, *_: Any) -> None:
        connection.send(429, b"{}", b"retry-after: 3600\r\n")

    served = endpoint(respond=respond)
    with pytest.raises(EndpointError, match="asks to wait 3600 s"):
        engine(served.base_url).ask(plain(9))
    assert len(served.bodies) <= 4


def test_the_breaker_opens_and_recovers(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint()
    start = time.monotonic()
    served.endpoint.fault = lambda body: "500" if time.monotonic() - start < 0.5 else ""
    asking = engine(served.base_url, tries=99, breaker_failures=5, breaker_seconds=0.2)
    tally = asking.ask(plain(20))
    assert tally.answered == 20 and not tally.failed
    # Without a breaker the 20 would have come hundreds of times in half a second.
    assert asking.ledger.totals().outcomes["http 500"] <= 5 + 4 + 3
    assert time.monotonic() - start >= 0.5


def test_an_endpoint_down_too_long_ends_the_job(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint()
    asking = engine(
        served.base_url,
        tries=99,
        breaker_failures=2,
        breaker_seconds=0.05,
        down_after=0.3,
    )
    asking.ask(plain(5))
    served.stop()
    with pytest.raises(EndpointError, match="has been down for 0 s") as caught:
        asking.ask(plain(50))
    assert caught.value.exit_code == 6
    assert asking.ledger.totals().outcomes["answered"] == 5
    # What was refused cost nothing.
    sent = asking.ledger.totals()
    assert sent.outcomes["refused"] > 0 and sent.completion_tokens < 5 * 20


def test_a_wrong_key_ends_the_job_at_once(
    endpoint: Callable[..., Any],
    engine: Callable[..., Any],
    plain: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    key = "a-key-of-0815-and-4711"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    error = json.dumps({"error": {"message": f"Wrong key: {key}"}}).encode()
    served = endpoint(respond=lambda connection, *_: connection.send(401, error))
    asking = engine(served.base_url, concurrency=3)
    with pytest.raises(EndpointError, match=r"refuses: http 401.* Wrong key") as caught:
        asking.ask(plain(50))
    assert len(served.bodies) <= 3
    assert key not in "".join(traceback.format_exception(caught.value))
    asking.ledger.close()
    assert all(
        key.encode() not in path.read_bytes() for path in tmp_path.glob("*ledger*")
    )


def test_a_job_that_is_set_up_wrongly_ends(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    error = b'{"error": {"message": "What is response_format?"}}'
    served = endpoint(respond=lambda connection, *_: connection.send(400, error))
    with pytest.raises(
        EndpointError, match=r"first 20 requests: http 400.*What is response_format"
    ):
        engine(served.base_url).ask(plain(99))
    assert 20 <= len(served.bodies) < 24


@pytest.mark.parametrize("faults", [0.0, 0.5])
@pytest.mark.parametrize("cap", ["max_requests", "max_tokens", "max_usd"])
def test_caps_are_never_exceeded(
    endpoint: Callable[..., Any],
    engine: Callable[..., Any],
    plain: Callable[..., Any],
    cap: str,
    faults: float,
) -> None:
    served = endpoint(faults=faults, latency=0.01)
    prompt, completion = _bounds(plain(1)[0][1])
    limits = {
        "max_requests": 23,
        "max_tokens": 3 * (prompt + completion),
        "max_usd": 3 * (prompt + 2 * completion),
    }
    asking = engine(
        served.base_url, caps=Caps(**{cap: limits[cap]}), price=PRICE, timeout=0.4
    )
    tally = asking.ask(plain(200))
    assert tally.stopped == cap
    # What was under way ended: nothing is lost or cut off.
    totals = asking.ledger.totals()
    assert not totals.outcomes.keys() & {"under way", "interrupted", "lost"}
    assert totals.requests == tally.sent == len(served.bodies)
    amounts = {
        "max_requests": totals.requests,
        "max_tokens": totals.prompt_tokens + totals.completion_tokens,
        "max_usd": totals.usd,
    }
    assert amounts[cap] <= limits[cap]
    # It was used as far as one more request would have broken it.
    slack = {
        "max_requests": 1,
        "max_tokens": prompt + completion + 2,
        "max_usd": prompt + 2 * completion + 3,
    }
    assert amounts[cap] > limits[cap] - slack[cap]
    # And it holds for the ledger's life.
    again = engine(served.base_url, caps=Caps(**{cap: limits[cap]}), price=PRICE)
    assert again.ask(plain(200)).sent == 0


def test_a_cap_of_nothing_sends_nothing_and_reads_the_ledger(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint()
    engine(served.base_url).ask(plain(3))
    tally = engine(served.base_url, caps=Caps(max_requests=0)).ask(plain(3))
    assert (tally.reused, tally.sent, tally.stopped) == (3, 0, "")


def test_an_endless_source_ends_with_the_cap(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    drawn = itertools.count()

    def questions() -> Iterator[Any]:
        for number in drawn:
            yield plain(number + 1)[-1]

    asking = engine(endpoint().base_url, caps=Caps(max_requests=10), concurrency=2)
    tally = asking.ask(questions())
    assert (tally.answered, tally.stopped) == (10, "max_requests")
    assert next(drawn) <= 10 + 2 + 3 * 4 * 2


def test_an_error_while_drawing_ends_the_job_and_keeps_the_answers(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    def questions() -> Iterator[Any]:
        yield from plain(40)
        raise LookupError("no more candidates")

    asking = engine(endpoint().base_url, concurrency=2)
    with pytest.raises(LookupError, match="no more candidates"):
        asking.ask(questions())
    outcomes = asking.ledger.totals().outcomes
    assert outcomes["answered"] > 0 and outcomes["under way"] == 0


def test_nothing_to_ask(
    endpoint: Callable[..., Any], engine: Callable[..., Any]
) -> None:
    assert engine(endpoint().base_url).ask([]).questions == 0


def test_within_a_running_loop(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    asking = engine(endpoint().base_url)

    async def notebook() -> int:
        return asking.ask(plain(5)).answered + asking.ask(plain(7)).answered

    assert asyncio.run(notebook()) == 7


def test_ctrl_c_keeps_what_was_answered(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    served = endpoint(latency=0.05)
    asking = engine(served.base_url)
    seen = itertools.count(1)

    def done(tag: object) -> None:
        if next(seen) == 9:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            asking.ask(plain(10_000), done=done)
    finally:
        signal.signal(signal.SIGINT, before)
    totals = asking.ledger.totals()
    assert 9 <= totals.outcomes["answered"] <= 9 + 4
    assert totals.outcomes["interrupted"] <= 4 and totals.outcomes["under way"] == 0
    # The interrupted may have been billed.
    prompt, _ = _bounds(plain(1)[0][1])
    charged = prompt * totals.outcomes["interrupted"]
    assert totals.prompt_tokens >= charged
    tally = asking.ask(plain(totals.outcomes["answered"]))
    assert tally.reused + tally.sent == totals.outcomes["answered"]
    assert tally.sent <= 4


def test_one_job_at_a_time(
    endpoint: Callable[..., Any],
    engine: Callable[..., Any],
    plain: Callable[..., Any],
) -> None:
    served = endpoint()
    first, second = engine(served.base_url), engine(served.base_url)
    with (
        first.ledger.writing(),
        pytest.raises(StoreError, match="Another process is writing"),
    ):
        second.ask(plain(1))
    assert not served.bodies


def test_a_rate_is_kept(
    endpoint: Callable[..., Any], engine: Callable[..., Any], plain: Callable[..., Any]
) -> None:
    times: list[float] = []

    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        times.append(time.monotonic())
        payload = connection.endpoint.answer(path, body)
        connection.send(200, json.dumps(payload).encode())

    # 570 a minute drip, after a burst of 30; the last 10 take a second.
    engine(
        endpoint(respond=respond).base_url, requests_per_minute=600, concurrency=16
    ).ask(plain(40))
    assert times[-1] - times[0] >= 0.5


def test_answers_do_not_depend_on_the_order(
    endpoint: Callable[..., Any],
    engine: Callable[..., Any],
    plain: Callable[..., Any],
    tmp_path: Path,
) -> None:
    served, questions = endpoint(), plain(20)
    digests = []
    for seed in (1, 2):
        order = np.random.default_rng(seed).permutation(20)
        asking = engine(served.base_url, ledger=tmp_path / f"{seed}.sqlite")
        asking.ask([questions[place] for place in order])
        answers = [asking.ledger.get(each.next([]).key) for _, each in questions]
        digests.append(hashlib.sha256(repr(answers).encode()).hexdigest())
    assert digests[0] == digests[1]
