import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.teachers.encoder import EncoderTeacher

# Row 0 is padding; item 4 has no text, item 5 points away from item 1.
VECTORS = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 0], [-1, 0]], np.float32)


def _teacher(temperature: float = 0.5) -> EncoderTeacher:
    return EncoderTeacher(
        VECTORS, model="m", text_hash="h", temperature=temperature, name="minilm"
    )


def test_hand_computed_soft_maximum() -> None:
    scores = _teacher().score(np.array([[0, 1, 2]]), np.array([[3, 1, 5]]))
    expected = [
        0.5 * np.log((np.exp(0.6 / 0.5) + np.exp(0.8 / 0.5)) / 2),
        0.5 * np.log((np.exp(1 / 0.5) + 1) / 2),
        0.5 * np.log((np.exp(-1 / 0.5) + 1) / 2),
    ]
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, [expected], rtol=1e-5)


def test_one_item_gives_its_cosine() -> None:
    scores = _teacher().score(np.array([[0, 3]]), np.array([[1, 2, 3, 5]]))
    np.testing.assert_allclose(scores, [[0.6, 0.8, 1, -0.6]], rtol=1e-5)


def test_missing_text_has_no_answer() -> None:
    scores = _teacher().score(
        np.array([[0, 1], [0, 4], [0, 0], [1, 4]]), np.array([[1, 4, 0]] * 4)
    )
    np.testing.assert_array_equal(
        np.isnan(scores),
        [[False, True, True], [True] * 3, [True] * 3, [False, True, True]],
    )
    # An item without a text does not water the history down.
    assert scores[3, 0] == scores[0, 0]


@pytest.mark.parametrize("histories", [[[1, 2, 5]], [[5, 0, 5]]])
def test_a_low_temperature_gives_the_maximum(histories: list[list[int]]) -> None:
    scores = _teacher(1e-4).score(np.array(histories), np.array([[1, 3]]))
    cosine = VECTORS[[i for i in histories[0] if i]] @ VECTORS[[1, 3]].T
    np.testing.assert_allclose(scores, [cosine.max(0)], atol=1e-3)


def test_description() -> None:
    assert _teacher(0.2).describe() == {
        "name": "minilm",
        "model": "m",
        "prompt_hash": "h",
        "temperature": 0.2,
        "pooling": "logmeanexp",
    }


@pytest.mark.parametrize("temperature", [0.0, -0.1, float("nan")])
def test_wrong_temperature(temperature: float) -> None:
    with pytest.raises(ConfigError, match="`temperature` must be positive"):
        _teacher(temperature)
