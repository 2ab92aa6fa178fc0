import json
import math
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.questions import ListQuestion, YesNoQuestion
from keras_sllmr.scoring.llm.request import Answer, Request
from keras_sllmr.scoring.llm.request_maker import RequestMaker
from keras_sllmr.scoring.llm.template import PromptTemplate

NAN = math.nan
MAKER = RequestMaker(model="m", parameters={"seed": 3})
SCORES = ListQuestion(
    template=PromptTemplate.load("paper"),
    maker=MAKER,
    history=["Shampoo"],
    candidates=["A", "B", "C"],
    reasks=2,
)
RANKING = replace(SCORES, template=PromptTemplate.load("ranking"), temperature=2.0)
YES_NO = YesNoQuestion(
    template=PromptTemplate.load("yes_no"),
    maker=MAKER,
    history=["Shampoo"],
    candidate="A",
)
FAILED = Answer(reason="http 500")


def _scored(*pairs: tuple[Any, Any]) -> Answer:
    entries = [{"id": number, "score": score} for number, score in pairs]
    return Answer(content=json.dumps({"scores": entries}))


def _ranked(*numbers: int) -> Answer:
    return Answer(content=json.dumps({"ranking": numbers}))


def _shown(request: Request | None) -> list[str]:
    assert request is not None
    lines = request.body["messages"][1]["content"].splitlines()
    return [line for line in lines if line[:1].isdigit()]


def _scores(question: Any, *answers: Answer) -> tuple[list[float], dict[str, int]]:
    found = question.scores(answers)
    return found.values.tolist(), dict(found.problems)


def test_the_first_request() -> None:
    request = SCORES.next([])
    assert _shown(request) == ['1: "A"', '2: "B"', '3: "C"']
    assert request is not None and request.attempt == 0
    assert request.body["seed"] == 3
    assert request.body["max_tokens"] == 3 * 16 + 64
    schema = request.body["response_format"]["json_schema"]["schema"]
    assert schema == SCORES.template.schema(3)


def test_a_full_answer_is_the_end() -> None:
    answer = _scored((1, 0), (3, 1), (2, 0.5))
    assert SCORES.next([answer]) is None
    assert _scores(SCORES, answer) == ([0, 0.5, 1], {})


def test_the_missing_are_asked_for_again_under_new_numbers() -> None:
    first = _scored((2, 0.5), (9, 1), (3, 7))
    request = SCORES.next([first])
    assert _shown(request) == ['1: "A"', '2: "C"']
    assert request is not None
    assert (request.attempt, request.body["seed"]) == (1, 4)
    # 3 is foreign now: two were shown.
    second = _scored((2, 0.25), (3, 1))
    assert _shown(SCORES.next([first, second])) == ['1: "A"']
    third = _scored((1, 0.75))
    assert SCORES.next([first, second, third]) is None
    assert _scores(SCORES, first, second, third) == (
        [0.75, 0.5, 0.25],
        {"foreign": 2, "out of range": 1, "partial": 2},
    )


def test_reasks_end() -> None:
    answers = [Answer(content="no idea")] * 3
    requests = [SCORES.next(answers[:asked]) for asked in range(3)]
    assert [request and request.attempt for request in requests] == [0, 1, 2]
    assert SCORES.next(answers) is None
    values, problems = _scores(SCORES, *answers)
    assert np.isnan(values).all()
    assert problems == {"malformed": 3}
    assert replace(SCORES, reasks=0).next(answers[:1]) is None


@pytest.mark.parametrize("question", [SCORES, RANKING, YES_NO])
def test_a_failure_ends_the_question(question: Any) -> None:
    assert question.next([FAILED]) is None
    values, problems = _scores(question, FAILED)
    assert np.isnan(values).all()
    assert problems == {"http 500": 1}


def test_what_was_scored_before_a_failure_stays() -> None:
    values, problems = _scores(SCORES, _scored((2, 0.5)), FAILED)
    np.testing.assert_array_equal(values, [NAN, 0.5, NAN])
    assert problems == {"partial": 1, "http 500": 1}
    values, _ = _scores(RANKING, _ranked(2, 1), FAILED)
    np.testing.assert_array_equal(np.isnan(values), [False, False, True])


def test_nothing_to_ask() -> None:
    for question in (SCORES, RANKING):
        empty = replace(question, candidates=[])
        assert empty.next([]) is None
        assert _scores(empty) == ([], {})


def test_an_order_is_asked_for_again_as_a_whole() -> None:
    request = RANKING.next([_ranked(3, 1)])
    assert request is not None and request.attempt == 1
    assert _shown(request) == _shown(RANKING.next([]))
    assert RANKING.next([_ranked(3, 1), _ranked(3, 1, 2)]) is None


def test_the_fullest_and_latest_order_counts() -> None:
    # ((m + 1)/2 − r)/2 is ±0.25 for two, ±0.5 and 0 for three.
    low, high = 1 / (1 + math.exp(0.25)), 1 / (1 + math.exp(-0.25))
    values, problems = _scores(RANKING, _ranked(3, 1), _ranked(1), Answer())
    np.testing.assert_allclose(values, [low, NAN, high], atol=1e-6)
    assert problems == {"partial": 2, "empty": 1}
    values, _ = _scores(RANKING, _ranked(3, 1), _ranked(1, 2))
    np.testing.assert_allclose(values, [high, low, NAN], atol=1e-6)
    values, _ = _scores(RANKING, _ranked(3, 1), _ranked(2, 1, 3))
    half = 1 / (1 + math.exp(-0.5))
    np.testing.assert_allclose(values, [0.5, half, 1 - half], atol=1e-6)


def test_yes_no() -> None:
    request = YES_NO.next([])
    assert request is not None
    assert request.body["messages"][1]["content"].splitlines()[1] == '"A"'
    assert request.body["max_tokens"] == 1
    assert "response_format" not in request.body
    # Odds of 3 to 1, whose square root T = 2 takes.
    answer = Answer(top_logprobs=(("Yes", math.log(0.6)), ("No", math.log(0.2))))
    assert YES_NO.next([answer]) is None
    assert _scores(YES_NO, answer) == ([pytest.approx(0.75)], {})
    values, _ = _scores(replace(YES_NO, temperature=2.0), answer)
    assert values == [pytest.approx(3**0.5 / (1 + 3**0.5))]


def test_yes_no_is_asked_again_unless_it_is_useless() -> None:
    neither = Answer(top_logprobs=(("Maybe", -0.1),))
    request = YES_NO.next([neither])
    assert request is not None and (request.attempt, request.body["seed"]) == (1, 4)
    assert YES_NO.next([neither, neither]) is None
    assert YES_NO.next([Answer(content="Yes")]) is None
    yes = Answer(top_logprobs=(("yes", -0.1), ("no", -0.1)))
    assert _scores(YES_NO, neither, yes) == ([0.5], {"no yes or no": 1})


@pytest.mark.parametrize(
    ("question", "changes", "rule"),
    [
        (SCORES, {"reasks": -1}, "`reasks` must not be negative"),
        (RANKING, {"temperature": 0.0}, "`temperature` must be positive"),
        (SCORES, {"template": YES_NO.template}, "goes with a `YesNoQuestion`"),
        (YES_NO, {"template": SCORES.template}, "others with a `ListQuestion`"),
    ],
)
def test_rules(question: Any, changes: dict[str, Any], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        replace(question, **changes)


_ANSWERS = st.one_of(
    st.lists(st.tuples(st.integers(0, 4), st.floats(-1, 2))).map(lambda x: _scored(*x)),
    st.lists(st.integers(0, 4)).map(lambda x: _ranked(*x)),
    st.text(max_size=9).map(lambda text: Answer(content=text)),
    st.just(FAILED),
)


@given(answers=st.lists(_ANSWERS, min_size=3, max_size=3))
def test_a_question_ends_and_says_the_same_when_read_again(
    answers: list[Answer],
) -> None:
    for question in (SCORES, RANKING):
        keys: list[str] = []
        while request := question.next(answers[: len(keys)]):
            keys.append(request.key)
        assert 1 <= len(set(keys)) == len(keys) <= question.reasks + 1
        given_ = answers[: len(keys)]
        again = pickle.loads(pickle.dumps(question))
        for asked in range(len(keys)):
            same = again.next(given_[:asked])
            assert same is not None and same.key == keys[asked]
        values = question.scores(given_).values
        np.testing.assert_array_equal(values, again.scores(given_).values)
        known = values[~np.isnan(values)]
        assert ((known >= 0) & (known <= 1)).all()
