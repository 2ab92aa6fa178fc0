import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.request import Answer, Usage
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.teachers.base import AskedTeacher
from keras_sllmr.scoring.teachers.llm import LLMTeacher

# Item 5 has no text.
TEXTS = ["", *(f"item-{letter}" for letter in "abcd"), "", *"FGHIJ"]
HISTORIES = np.array([[0, 1, 2], [3, 5, 4], [0, 0, 5]])
CANDIDATES = np.array([[6, 7, 8, 9, 10], [1, 5, 6, 0, 2], [6, 7, 8, 9, 10]])
BLOCKS = [(HISTORIES, CANDIDATES)]

Make = Callable[..., LLMTeacher]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[LLMTeacher] = []

    def teacher(base_url: str = "http://localhost:1/v1", **settings: Any) -> LLMTeacher:
        values = {"transport": {"concurrency": 4, "backoff": 0.01}} | settings
        made.append(
            LLMTeacher.open(
                TEXTS,
                tmp_path / "ledger.sqlite",
                LLMSettings(model="local", base_url=base_url, **values),
            )
        )
        return made[-1]

    yield teacher
    for each in made:
        each.ledger.close()


def _shown(body: bytes) -> list[str]:
    """The candidates' texts in the order that a body shows them in."""
    text = json.loads(body)["messages"][-1]["content"]
    return [
        json.loads(quoted)
        for quoted in re.findall(r'^\d+: (".*")$', text, re.MULTILINE)
    ]


@pytest.fixture
def right(local_endpoint: Any) -> np.ndarray:
    """What the endpoint thinks of the candidates."""
    scores = [[local_endpoint.score_of(TEXTS[i]) for i in row] for row in CANDIDATES]
    known = (np.array(TEXTS)[CANDIDATES] != "") & np.array([[1], [1], [0]], bool)
    return np.where(known, np.array(scores), np.nan).astype(np.float32)


def test_scores_are_the_answers(
    endpoint: Callable[..., Any], make: Make, right: np.ndarray
) -> None:
    teacher = make(endpoint().base_url)
    assert isinstance(teacher, AskedTeacher)
    done: list[int] = []
    report = teacher.ask(BLOCKS, progress=done.append)
    assert (report["questions"], report["requests_sent"]) == (2, 2)
    assert done[-1] == 3
    opinion = teacher.opinion(HISTORIES, CANDIDATES)
    np.testing.assert_allclose(opinion.scores, right, atol=1e-6)
    assert opinion.scores.dtype == np.float32 == opinion.spread.dtype
    np.testing.assert_array_equal(opinion.answers, ~np.isnan(right))
    assert not opinion.spread.any()
    np.testing.assert_array_equal(teacher.score(HISTORIES, CANDIDATES), opinion.scores)


def test_nothing_is_known_before_it_is_asked(make: Make) -> None:
    teacher = make()
    opinion = teacher.opinion(HISTORIES, CANDIDATES)
    assert np.isnan(opinion.scores).all() and not opinion.answers.any()
    assert teacher.report()["failed"] == {"not asked": 2}


def test_only_texts_are_shown(endpoint: Callable[..., Any], make: Make) -> None:
    served = endpoint()
    make(served.base_url).ask(BLOCKS)
    bodies = sorted(served.bodies, key=lambda body: len(_shown(body)))
    # Items without text are neither shown nor asked about.
    assert sorted(_shown(bodies[0])) == ["F", "item-a", "item-b"]
    assert sorted(_shown(bodies[1])) == ["F", "G", "H", "I", "J"]
    prompt = json.loads(bodies[0])["messages"][-1]["content"]
    assert prompt.startswith(
        'Given that the user recently interacted with items {"item-c", "item-d"}, rank'
    )
    fields = {"model", "messages", "temperature", "max_tokens", "response_format"}
    assert json.loads(bodies[0]).keys() == fields


def test_permutations_are_averaged(
    endpoint: Callable[..., Any], make: Make, local_endpoint: Any
) -> None:
    # As a model that likes what it sees first: its score is the place.
    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        many = len(_shown(body))
        scores = [{"id": n, "score": 1 - n / 10} for n in range(1, many + 1)]
        content = json.dumps({"scores": scores})
        payload = {"choices": [{"message": {"content": content}}]}
        connection.send(200, json.dumps(payload).encode())

    served = endpoint(respond=respond)
    teacher = make(served.base_url, permutations=4, seed=3)
    teacher.ask([(HISTORIES[:1], CANDIDATES[:1])])
    orders = [_shown(body) for body in served.bodies]
    assert len(orders) == 4 and len(set(map(tuple, orders))) > 1
    given = np.array(
        [[1 - (order.index(text) + 1) / 10 for text in "FGHIJ"] for order in orders]
    )
    opinion = teacher.opinion(HISTORIES[:1], CANDIDATES[:1])
    np.testing.assert_allclose(opinion.scores[0], given.mean(0), atol=1e-6)
    np.testing.assert_allclose(opinion.spread[0], given.std(0), atol=1e-6)
    assert (opinion.answers == 4).all()


def test_equal_answers_have_no_spread(
    endpoint: Callable[..., Any], make: Make, right: np.ndarray
) -> None:
    teacher = make(endpoint().base_url, permutations=3)
    teacher.ask(BLOCKS)
    opinion = teacher.opinion(HISTORIES, CANDIDATES)
    np.testing.assert_allclose(opinion.scores, right, atol=1e-6)
    assert not opinion.spread.any() and opinion.answers.max() == 3


def test_orders_are_shuffled_the_same_way_in_every_process(make: Make) -> None:
    def orders(**settings: Any) -> list[list[int]]:
        asked = make(permutations=2, **settings).questions(HISTORIES[0], CANDIDATES[0])
        return [places.tolist() for _, places in asked]

    assert orders() == orders() == [[1, 2, 0, 4, 3], [4, 2, 1, 0, 3]]
    assert orders(seed=1) != orders()
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders())


@pytest.mark.parametrize("most", [1, 2, 4, 5])
def test_requests_are_split(
    endpoint: Callable[..., Any], make: Make, right: np.ndarray, most: int
) -> None:
    served = endpoint()
    teacher = make(served.base_url, per_request=most)
    teacher.ask(BLOCKS)
    assert len(served.bodies) == -(-5 // most) + -(-3 // most)
    assert max(len(_shown(body)) for body in served.bodies) == most
    np.testing.assert_allclose(teacher.score(HISTORIES, CANDIDATES), right, atol=1e-6)


def test_ranking(endpoint: Callable[..., Any], make: Make, right: np.ndarray) -> None:
    teacher = make(endpoint().base_url, template="ranking", score_temperature=2.0)
    teacher.ask(BLOCKS)
    scores = teacher.score(HISTORIES, CANDIDATES)
    for row in (0, 1):
        known = ~np.isnan(right[row])
        count = known.sum()
        # Rank r from 1 of m: σ(((m + 1)/2 − r)/τ).
        margins = ((count + 1) / 2 - np.arange(1, count + 1)) / 2
        best_first = np.argsort(-right[row][known], kind="stable")
        np.testing.assert_allclose(
            scores[row][known][best_first], 1 / (1 + np.exp(-margins)), rtol=1e-5
        )
    assert np.isnan(scores[2]).all()


def test_yes_or_no(
    endpoint: Callable[..., Any], make: Make, local_endpoint: Any
) -> None:
    served = endpoint()
    teacher = make(served.base_url, template="yes_no", score_temperature=2.0)
    teacher.ask(BLOCKS)
    assert len(served.bodies) == 5 + 3
    body = json.loads(served.bodies[0])
    assert body["logprobs"] and body["max_tokens"] == 1 and body["top_logprobs"] == 20
    opinion = teacher.opinion(HISTORIES, CANDIDATES)
    asked = np.array(TEXTS)[CANDIDATES] != ""
    asked[2] = False
    np.testing.assert_array_equal(~np.isnan(opinion.scores), asked)
    for body in map(json.loads, served.bodies):
        content = body["messages"][-1]["content"]
        margin = 2 * local_endpoint.score_of(content) / 2
        expected = 1 / (1 + np.exp(-margin))
        assert np.isclose(opinion.scores, expected, atol=1e-5).any()


def test_no_id_reaches_the_endpoint(
    endpoint: Callable[..., Any], shop: Any, tmp_path: Path
) -> None:
    served = endpoint()
    settings = LLMSettings(model="local", base_url=served.base_url)
    teacher = LLMTeacher.open(shop.store.item_texts, tmp_path / "ledger", settings)
    histories = np.array([[1, 2, 3], [4, 5, 6]])
    teacher.ask([(histories, np.array([[11, 12], [13, 14]]))])
    sent = b"".join(served.bodies).decode()
    for name in [*shop.store.user_ids[1:], *shop.store.item_ids[1:]]:
        assert not re.search(rf"\b{name}\b", sent)
    assert len(served.bodies) == 2


def test_redaction_comes_before_anything_is_shown(
    endpoint: Callable[..., Any], make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    served = endpoint()
    teacher = make(served.base_url, redact="string:capwords")
    teacher.ask(BLOCKS)
    sent = b"".join(served.bodies)
    assert b"Item-a" in sent and b"item-a" not in sent
    assert teacher.describe()["redact"] == "string:capwords"
    with pytest.raises(DataError, match="must return a str"):
        make(redact="builtins:len")
    with pytest.raises(ConfigError, match="`redaction` must name a function"):
        make(redact="nothing")


def test_hidden_characters_do_not_get_past_the_redaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_redaction.py").write_text(
        "def hide(text):\n    return text.replace('secret', 'xxx')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    texts = ["", "a se\u200bcret", "a sec\u00adret " + "long " * 100 + "secret"]
    settings = LLMSettings(model="m", base_url="u", redact="my_redaction:hide")
    teacher = LLMTeacher(texts, Ledger(":memory:"), settings)
    assert teacher.texts[1] == "a xxx" and "secret" not in teacher.texts[2]


def test_the_report_counts_what_the_table_rests_on(
    endpoint: Callable[..., Any], make: Make
) -> None:
    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        shown = _shown(body)
        usage = {
            "prompt_tokens": 100,
            "completion_tokens": 10,
            "prompt_tokens_details": {"cached_tokens": 40},
        }
        entries = [{"id": n + 1, "score": 0.5} for n in range(len(shown))]
        if len(shown) == 3:
            return connection.send(400, b"{}")
        if len(shown) == 5:
            entries[0]["score"] = 7
        content = json.dumps({"scores": entries})
        payload = {"choices": [{"message": {"content": content}}], "usage": usage}
        return connection.send(200, json.dumps(payload).encode())

    prices = {"prompt": 1.0, "completion": 2.0, "cached": 0.5}
    path = make().ledger.path.with_name("prices.yaml")
    path.write_text(json.dumps({"models": {"local": prices}}))
    teacher = make(endpoint(respond=respond).base_url, prices=str(path))
    tally = teacher.ask(BLOCKS)
    assert tally["failed"] == {"http 400": 1} and tally["answered"] == 2
    for _ in range(2):
        opinion = teacher.opinion(HISTORIES, CANDIDATES)
        assert np.nansum(opinion.answers) == 5
        report = teacher.report()
        usd = 2 * (60 * 1.0 + 40 * 0.5 + 10 * 2.0) / 1e6
        assert report == {
            "requests": 2,
            "tokens": 220,
            "prompt_tokens": 200,
            "cached_tokens": 80,
            "completion_tokens": 20,
            "usd": pytest.approx(usd),
            "failed": {"http 400": 1},
            "problems": {"out of range": 1, "partial": 1},
            "ledger": {
                "requests": report["ledger"]["requests"],
                "prompt_tokens": 200,
                "completion_tokens": 20,
                "usd": pytest.approx(usd),
                "outcomes": {
                    "answered": 2,
                    "http 400": report["ledger"]["requests"] - 2,
                },
            },
            "stopped_by": None,
        }
        # Another table of the same teacher starts from nothing.
        teacher.ask(BLOCKS)


def test_a_teacher_without_an_engine_reads_the_ledger(
    endpoint: Callable[..., Any], make: Make, right: np.ndarray
) -> None:
    asked = make(endpoint().base_url)
    asked.ask(BLOCKS)
    reader = LLMTeacher(TEXTS, asked.ledger, asked.settings)
    assert reader.ask(BLOCKS)["requests_sent"] == 0
    np.testing.assert_allclose(reader.score(HISTORIES, CANDIDATES), right, atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [
        {"template": "paper_100"},
        {"parameters": {"temperature": 0.5}},
        {"structured": "none"},
        {"tokens_beside": 65},
        {"seed": 1},
    ],
)
def test_what_changes_the_question_asks_anew(make: Make, changed: Any) -> None:
    def keys(**settings: Any) -> set[str]:
        asked = make(**settings).questions(HISTORIES[0], CANDIDATES[0])
        return {question.next([]).key for question, _ in asked}  # type: ignore[union-attr]

    assert keys() == keys() and not keys() & keys(**changed)


def test_the_endpoints_name_is_part_of_the_question(make: Make) -> None:
    def key(base_url: str, **settings: Any) -> str:
        teacher = make(base_url, **settings)
        request = teacher.questions(HISTORIES[0], CANDIDATES[0])[0][0].next([])
        assert request is not None
        return request.key

    one, other = "http://one/v1", "http://two/v1"
    assert key(one) != key(other)
    assert key(one, endpoint="mine") == key(other, endpoint="mine")


def test_description(make: Make) -> None:
    described = make("http://me:secret@host/v1", permutations=3).describe()
    assert described["name"] == "llm" and described["model"] == "local"
    assert described["endpoint"] == "http://host/v1"
    assert described["prompt"] == "paper" and len(described["prompt_hash"]) > 10
    assert described["permutations"] == 3
    assert "secret" not in json.dumps(described)


def test_caps_in_usd_need_a_price(make: Make) -> None:
    with pytest.raises(ConfigError, match="No price is known for the model 'local'"):
        make(caps={"max_usd": 1})


def test_what_is_no_ledger(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_text("no database at all, though it is a file " * 9)
    with pytest.raises(StoreError, match="cannot be used as a ledger"):
        LLMTeacher.open(
            TEXTS, tmp_path / "ledger", LLMSettings(model="m", base_url="u")
        )


def test_answers_from_elsewhere_are_read_as_they_stand(make: Make) -> None:
    """A title that gives orders changes nothing: ids and ranges are checked."""
    teacher = make(reasks=0)
    ((question, places),) = teacher.questions(HISTORIES[0], CANDIDATES[0])
    request = question.next([])
    assert request is not None
    entries = [{"id": 1, "score": 9}, {"id": 77, "score": 1}, {"id": 2, "score": 0.25}]
    sent = teacher.ledger.begin(request.key, prompt=1, completion=1, usd=0)
    answer = Answer(content=json.dumps({"scores": entries}), usage=Usage(1, 1))
    teacher.ledger.answer(sent, request.key, answer, usd=0)
    scores = teacher.score(HISTORIES[:1], CANDIDATES[:1])[0]
    assert scores[places[1]] == 0.25 and np.isnan(np.delete(scores, places[1])).all()
    problems = {"foreign": 1, "out of range": 1, "partial": 1}
    assert teacher.report()["problems"] == problems


def test_orders_do_not_depend_on_padding(make: Make) -> None:
    """How wide a block is depends on other users; what one is asked does not."""

    def asked(candidates: list[int]) -> list[Any]:
        found = make(permutations=2).questions(HISTORIES[0], np.array(candidates))
        return [question.next([]).key for question, _ in found]

    assert asked([6, 7, 8, 9, 10]) == asked([6, 0, 7, 8, 9, 10, 0, 0])
