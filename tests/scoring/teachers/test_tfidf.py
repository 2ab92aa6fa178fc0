import numpy as np
import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.scoring.teachers import tfidf
from keras_sllmr.scoring.teachers.tfidf import TfidfTeacher

# Row 0 is padding, item 4 has no text and item 5 none with a word.
TEXTS = np.array(["", "Red car", "red bike", "a blue car car", "", "!?"], object)


def _idf(documents: int) -> float:
    return float(np.log((1 + len(TEXTS)) / (1 + documents)) + 1)


RED, CAR, RARE = _idf(2), _idf(2), _idf(1)
# Words that come twice count 1 + ln 2 times.
TWICE = 1 + np.log(2)
CAR_CAR = np.sqrt(2 * RARE**2 + (TWICE * CAR) ** 2)
RED_CAR, RED_BIKE = np.hypot(RED, CAR), np.hypot(RED, RARE)


def test_hand_computed_cosines() -> None:
    teacher = TfidfTeacher(TEXTS)
    scores = teacher.score(np.array([[0, 1]]), np.array([[1, 2, 3]]))
    expected = [1, RED**2 / (RED_CAR * RED_BIKE), TWICE * CAR**2 / (RED_CAR * CAR_CAR)]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [expected], rtol=1e-5)


def test_the_best_of_the_history_counts() -> None:
    scores = TfidfTeacher(TEXTS).score(np.array([[2, 3], [3, 2]]), np.array([[1]] * 2))
    best = max(RED**2 / (RED_CAR * RED_BIKE), TWICE * CAR**2 / (RED_CAR * CAR_CAR))
    np.testing.assert_allclose(scores, [[best], [best]], rtol=1e-5)


def test_nothing_in_common_is_zero_and_not_missing() -> None:
    assert TfidfTeacher(TEXTS).score(np.array([[2]]), np.array([[3]])).item() == 0


def test_missing_text_has_no_answer() -> None:
    teacher = TfidfTeacher(TEXTS)
    scores = teacher.score(
        np.array([[0, 1], [0, 4], [0, 0], [1, 4]]), np.array([[1, 4, 5, 0]] * 4)
    )
    answered = [[True, False, False, False], [False] * 4, [False] * 4]
    np.testing.assert_array_equal(~np.isnan(scores), [*answered, answered[0]])


def test_blocks_do_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = TfidfTeacher(TEXTS)
    rng = np.random.default_rng(0)
    histories, candidates = rng.integers(0, 6, (7, 3)), rng.integers(0, 6, (7, 4))
    whole = teacher.score(histories, candidates)
    monkeypatch.setattr(tfidf, "_BLOCK", 2)
    np.testing.assert_array_equal(whole, teacher.score(histories, candidates))


def test_description_names_the_texts() -> None:
    described = TfidfTeacher(TEXTS).describe()
    assert described["name"] == described["model"] == "tfidf"
    other = TfidfTeacher(np.where(TEXTS == "Red car", "Green car", TEXTS))
    assert described["prompt_hash"] != other.describe()["prompt_hash"]


def test_texts_without_a_word() -> None:
    with pytest.raises(DataError, match="needs item texts with words. Received: 3"):
        TfidfTeacher(np.array(["", "", "?"], object))
