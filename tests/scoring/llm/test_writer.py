import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.settings import WriterSettings
from keras_sllmr.scoring.llm.writer import TextWriter

ITEMS = ["soap", "razor", "brush", "comb", "balm"]
PROMPTS: list[Any] = [{"item": item} for item in ITEMS]
USAGE = {"prompt_tokens": 100, "completion_tokens": 10}

Make = Callable[..., TextWriter]


def _item(body: bytes) -> str:
    return json.loads(json.loads(body)["messages"][-1]["content"].splitlines()[1])


def _says(content: Callable[[bytes], str | int], finish: str = "stop") -> Any:
    """An endpoint that writes this, or sends this status."""

    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        said = content(body)
        if isinstance(said, int):
            return connection.send(said, b"{}")
        choice = {"message": {"content": said}, "finish_reason": finish}
        payload = json.dumps({"choices": [choice], "usage": USAGE}).encode()
        return connection.send(200, payload)

    return respond


ABOUT = _says(lambda body: f" About {_item(body)}.\n")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    opened: list[TextWriter] = []

    def start(base_url: str, template: Any = "item_facts", **settings: Any) -> Any:
        batch = settings.pop("batch", None)
        values = {
            "transport": {
                "concurrency": 4,
                "backoff": 0.01,
                "tries": 2,
                "breaker_failures": 99,
            }
        } | settings
        writer = TextWriter.open(
            WriterSettings(model="local", base_url=base_url, **values),
            template,
            tmp_path / "ledger.sqlite",
            batch=batch,
        )
        opened.append(writer)
        return writer

    yield start
    for each in opened:
        assert each.engine is not None
        each.engine.ledger.close()


def test_texts_come_in_order_and_are_paid_for_once(
    endpoint: Callable[..., Any], make: Make
) -> None:
    served = endpoint(respond=ABOUT)
    writer = make(served.base_url)
    seen: list[tuple[int, int]] = []
    # Nothing to ask of one, and two that are the same.
    prompts = [PROMPTS[4], None, *PROMPTS[:3], PROMPTS[4]]
    texts = writer.write(prompts, progress=lambda *at: seen.append(at))
    expected = ["balm", "", "soap", "razor", "brush", "balm"]
    assert texts == [f"About {item}." if item else "" for item in expected]
    assert len(served.bodies) == 4 and seen == [(n, 4) for n in (1, 2, 3, 4)]
    report = writer.report()
    assert report == {
        "texts": 4,
        "texts_missing": 0,
        "requests": 4,
        "tokens": 440,
        "prompt_tokens": 400,
        "cached_tokens": 0,
        "completion_tokens": 40,
        "usd": None,
        "failed": {},
        "problems": {},
        "ledger": {
            "requests": 4,
            "prompt_tokens": 400,
            "completion_tokens": 40,
            "usd": None,
            "outcomes": {"answered": 4},
        },
        "stopped_by": None,
    }
    again = make(served.base_url)
    assert again.write(prompts) == texts and len(served.bodies) == 4
    assert again.report() == report
    assert again.write([]) == [] and again.report()["texts"] == 0


def test_what_is_sent(endpoint: Callable[..., Any], make: Make) -> None:
    served = endpoint(respond=ABOUT)
    make(served.base_url, tokens_beside=7).write(PROMPTS[:1])
    make(served.base_url, tokens_per_text=50, parameters={}).write(PROMPTS[:1])
    usual, other = map(json.loads, served.bodies)
    assert usual.keys() == {"model", "messages", "max_tokens", "temperature", "seed"}
    # Twice the words of the template.
    assert usual["max_tokens"] == 2 * 120 + 7 and usual["seed"] == 0
    assert other.keys() == {"model", "messages", "max_tokens"}
    assert other["max_tokens"] == 50 + 64
    judge = make(served.base_url, "judge_chain")
    values = {"history": ["a"], "item": "b", "label": True, "chain": "c"}
    (question,) = judge.questions([values]).values()
    request = question.next([])
    assert request is not None
    form = request.body["response_format"]["json_schema"]
    assert form["schema"] == judge.template.schema


@pytest.mark.parametrize("parameters", [{"temperature": 0.5, "seed": 3}, {}])
def test_samples_differ(
    endpoint: Callable[..., Any], make: Make, parameters: dict[str, Any]
) -> None:
    served = endpoint(
        respond=_says(lambda body: f"{_item(body)} {json.loads(body).get('seed')}")
    )
    writer = make(served.base_url, parameters=parameters)
    texts = writer.write(PROMPTS[:2], samples=3)
    seeds = [3, 1003, 2003] if parameters else [None] * 3
    assert texts == [f"{item} {seed}" for seed in seeds for item in ITEMS[:2]]
    # Without a seed too, each sample is a request of its own.
    assert len(served.bodies) == 6
    assert writer.write(PROMPTS[:2], samples=3) == texts and len(served.bodies) == 6
    assert writer.write(PROMPTS[:2]) == texts[:2] and len(served.bodies) == 6


def test_samples_that_can_not_differ_are_refused(make: Make) -> None:
    writer = make("http://localhost:1/v1", parameters={"temperature": 0.0})
    with pytest.raises(ConfigError, match="temperature above 0.*samples=2"):
        writer.write(PROMPTS, samples=2)
    with pytest.raises(ConfigError, match="samples=0"):
        writer.write(PROMPTS, samples=0)


def test_failures_leave_no_text_and_are_told(
    endpoint: Callable[..., Any], make: Make
) -> None:
    broken = {"soap": 400, "razor": "", "brush": 500}
    served = endpoint(respond=_says(lambda body: broken.get(_item(body), "fine")))
    writer = make(served.base_url)
    assert writer.write(PROMPTS) == ["", "", "", "fine", "fine"]
    report = writer.report()
    assert (report["texts"], report["texts_missing"]) == (5, 3)
    assert report["failed"] == {"http 400": 1, "http 500": 1}
    # An empty answer is asked for once more, with another seed.
    assert report["problems"] == {"empty": 2} and report["requests"] == 4
    seeds = [json.loads(each)["seed"] for each in served.bodies if b"razor" in each]
    assert seeds == [0, 1]
    sent = len(served.bodies)
    broken.clear()
    assert make(served.base_url).write(PROMPTS) == ["fine", "", "fine", "fine", "fine"]
    assert len(served.bodies) == sent + 2


def test_a_text_that_is_cut_off_is_kept_and_told(
    endpoint: Callable[..., Any], make: Make
) -> None:
    served = endpoint(respond=_says(lambda body: "Half a", finish="length"))
    writer = make(served.base_url)
    assert writer.write(PROMPTS[:1]) == ["Half a"]
    assert writer.report()["problems"] == {"truncated": 1}
    assert writer.report()["texts_missing"] == 0


def test_a_cap_ends_it(endpoint: Callable[..., Any], make: Make) -> None:
    served = endpoint(respond=ABOUT)
    writer = make(
        served.base_url, caps={"max_requests": 2}, transport={"concurrency": 1}
    )
    texts = writer.write(PROMPTS)
    assert texts == ["About soap.", "About razor.", "", "", ""]
    report = writer.report()
    assert report["stopped_by"] == "max_requests" and report["texts_missing"] == 3
    assert report["failed"] == {"not asked": 3} and len(served.bodies) == 2
    # The cap holds over all runs; a higher one pays for the rest alone.
    assert make(served.base_url, caps={"max_requests": 2}).write(PROMPTS) == texts
    more = make(served.base_url, caps={"max_requests": 5})
    assert all(more.write(PROMPTS)) and len(served.bodies) == 5
    assert more.report()["stopped_by"] is None


def test_writers_of_one_engine_share_its_caps(
    endpoint: Callable[..., Any], make: Make
) -> None:
    served = endpoint(respond=ABOUT)
    first = make(served.base_url, caps={"max_requests": 6})
    other = first.using("item_facts", variables={"factors": "colour"})
    assert all(first.write(PROMPTS))
    assert sum(map(bool, other.write(PROMPTS))) == 1
    assert other.report()["stopped_by"] == "max_requests"
    assert first.describe()["prompt_hash"] != other.describe()["prompt_hash"]
    cold = first.using("item_facts", parameters={"temperature": 0.0})
    assert cold.describe()["parameters"] == {"temperature": 0.0}
    assert first.describe()["parameters"] == {"temperature": 0.7, "seed": 0}


_JOB = """
import sys
from keras_sllmr.scoring.llm.settings import WriterSettings
from keras_sllmr.scoring.llm.writer import TextWriter
base_url, ledger, *items = sys.argv[1:]
settings = WriterSettings(model="local", base_url=base_url, transport={"concurrency": 1})
TextWriter.open(settings, "item_facts", ledger).write([{"item": i} for i in items])
"""


def test_a_killed_job_goes_on(
    endpoint: Callable[..., Any], make: Make, tmp_path: Path
) -> None:
    job: list[subprocess.Popen[bytes]] = []

    def about(body: bytes) -> str:
        if len(served.bodies) == 3:
            job[0].kill()
        return f"About {_item(body)}."

    served = endpoint(respond=_says(about))
    ledger = str(tmp_path / "ledger.sqlite")
    command = [sys.executable, "-c", _JOB, served.base_url, ledger, *ITEMS]
    job.append(subprocess.Popen(command))
    assert job[0].wait(60) == -9
    assert [_item(body) for body in served.bodies] == ITEMS[:3]
    writer = make(served.base_url)
    assert writer.write(PROMPTS) == [f"About {item}." for item in ITEMS]
    # Two answers were in the ledger; the third was under way.
    later = sorted(_item(body) for body in served.bodies[3:])
    assert later == sorted(ITEMS[2:])
    assert writer.report()["ledger"]["outcomes"] == {"answered": 5, "lost": 1}


def test_an_endpoint_that_refuses_ends_it(
    endpoint: Callable[..., Any], make: Make
) -> None:
    served = endpoint(respond=_says(lambda body: 401))
    with pytest.raises(EndpointError, match="401"):
        make(served.base_url).write(PROMPTS)


def test_through_the_batch_api(endpoint: Callable[..., Any], make: Make) -> None:
    served = endpoint()
    served.endpoint.chat = lambda body, fault="": {
        "choices": [{"message": {"content": f"{body['seed']}"}}],
        "usage": USAGE,
    }
    batch = BatchSettings(poll_seconds=0.01)
    writer = make(served.base_url, batch=batch)
    texts = writer.write([*PROMPTS, None], samples=2)
    assert texts == ["0"] * 5 + [""] + ["1000"] * 5 + [""]
    assert len(served.endpoint.batches) == 1


def test_texts_are_redacted_before_they_are_shown(make: Make) -> None:
    writer = make("http://localhost:1/v1", redact="string:capwords")
    assert writer.shown(["a b\u200bc", "", "x" * 500]) == [
        "A Bc",
        "",
        "X" + "x" * 398 + "…",
    ]


def test_description(make: Make) -> None:
    described = make("http://me:secret@host/v1").describe()
    assert described == {
        "model": "local",
        "endpoint": "http://host/v1",
        "prompt": "item_facts",
        "prompt_hash": described["prompt_hash"],
        "tokens_per_text": 240,
        "parameters": {"temperature": 0.7, "seed": 0},
        "structured": "json_schema",
        "reasks": 1,
        "redact": None,
    }


def test_rules(make: Make) -> None:
    settings = WriterSettings(model="local", base_url="http://localhost:1/v1")
    writer = TextWriter(settings, "item_facts")
    assert writer.report() == {"texts": 0, "texts_missing": 0}
    with pytest.raises(ConfigError, match="needs an engine"):
        writer.write(PROMPTS)
    with pytest.raises(ConfigError, match="is about item too. Received: history"):
        writer.questions([{"history": ["a"]}])
    with pytest.raises(ConfigError, match="one of chain_of_thought, "):
        TextWriter(settings, "paper")
    with pytest.raises(ConfigError, match="No price is known"):
        make("http://localhost:1/v1", caps={"max_usd": 1})
