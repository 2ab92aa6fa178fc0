import numpy as np
import pytest

from keras_sllmr.scoring.llm.embedding import EmbeddingQuestion
from keras_sllmr.scoring.llm.request import EMBEDDINGS, Answer, Request


def _answer(*rows: list[float]) -> Answer:
    return Answer(vectors=np.array(rows, np.float32))


def _ask(question: EmbeddingQuestion, *answers: Answer) -> Request:
    request = question.next(answers)
    assert request is not None
    return request


def test_one_request_and_its_unit_vectors() -> None:
    question = EmbeddingQuestion(("a", " ", "b"), "m", dimensions=2)
    request = _ask(question)
    assert request == Request(
        EMBEDDINGS,
        {
            "model": "m",
            "input": ["a", "b"],
            "encoding_format": "float",
            "dimensions": 2,
        },
    )
    answer = _answer([3, 4], [0, -2])
    assert question.next([answer]) is None
    vectors, problems = question.vectors([answer])
    assert vectors.dtype == np.float32 and not problems
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [0, -1]], rtol=1e-6)


def test_bad_vectors_are_asked_for_again() -> None:
    question = EmbeddingQuestion(("a", "b", "c"), "m")
    first = _answer([1, 0], [np.nan, 1], [0, 0])
    request = _ask(question, first)
    assert request.body["input"] == ["b", "c"] and request.attempt == 1
    assert "dimensions" not in request.body
    second = _answer([0, 1], [np.inf, 0])
    assert _ask(question, first, second).body["input"] == ["c"]
    vectors, problems = question.vectors([first, second])
    np.testing.assert_array_equal(vectors, [[1, 0], [0, 1], [0, 0]])
    assert problems == {"not finite": 2, "zero vector": 1, "missing": 1}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (_answer([1, 0]), "wrong number of vectors"),
        (_answer([1, 0], [1, 0], [1, 0]), "wrong number of vectors"),
        (Answer(content="no vectors"), "wrong number of vectors"),
        (Answer(vectors=np.zeros((2, 0), np.float32)), "wrong dimension"),
        (Answer(vectors=np.ones(2, np.float32)), "wrong number of vectors"),
    ],
)
def test_an_unusable_answer_is_asked_again(answer: Answer, problem: str) -> None:
    question = EmbeddingQuestion(("a", "b"), "m")
    again = _ask(question, answer)
    assert again.body == _ask(question).body and again.key != _ask(question).key
    vectors, problems = question.vectors([answer])
    assert vectors.shape == (2, 0) and problems == {problem: 1, "missing": 2}
    good = _answer([1, 0], [0, 1])
    np.testing.assert_array_equal(question.vectors([answer, good])[0], np.eye(2))


def test_vectors_of_another_dimension_do_not_mix() -> None:
    question = EmbeddingQuestion(("a", "b"), "m")
    answers = [_answer([1, 0], [0, 0]), _answer([1, 1, 1])]
    vectors, problems = question.vectors(answers)
    np.testing.assert_array_equal(vectors, [[1, 0], [0, 0]])
    assert problems["wrong dimension"] == 1
    asked = EmbeddingQuestion(("a",), "m", dimensions=3)
    assert asked.vectors([_answer([1, 0])])[0].tolist() == [[0, 0, 0]]


def test_asking_again_ends() -> None:
    question = EmbeddingQuestion(("a",), "m", reasks=2)
    bad = _answer([0, 0])
    assert question.next([bad, bad]) is not None
    assert question.next([bad, bad, bad]) is None
    assert EmbeddingQuestion(("a",), "m", reasks=0).next([bad]) is None


def test_a_failed_answer_ends_the_question() -> None:
    question = EmbeddingQuestion(("a", "b"), "m")
    answers = [_answer([1, 0], [0, 0]), Answer(reason="http 500")]
    assert question.next(answers) is None
    vectors, problems = question.vectors(answers)
    np.testing.assert_array_equal(vectors, [[1, 0], [0, 0]])
    assert problems == {"zero vector": 1, "http 500": 1, "missing": 1}


def test_blank_texts_are_not_asked_about() -> None:
    question = EmbeddingQuestion(("", " "), "m", dimensions=4)
    assert question.next([]) is None
    vectors, problems = question.vectors([])
    assert vectors.shape == (2, 4) and not vectors.any() and not problems
