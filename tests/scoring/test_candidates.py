import numpy as np
import pytest

from keras_sllmr.scoring.candidates import Candidates


@pytest.fixture
def part() -> Candidates:
    return Candidates(
        users=np.array([1, 2]),
        positions=np.array([2, 3]),
        items=np.array([[0, 6], [7, 0]]),
        origins=np.array(["a", "b"], object),
        labels=np.array([[-1, 1], [0, -1]]),
    )


def test_frame(part: Candidates) -> None:
    assert len(part) == 2
    frame = part.frame(np.array([[0.1, 0.2], [0.3, 0.4]]))
    assert frame.to_dict("list") == {
        "user": [1, 2],
        "item": [6, 7],
        "score": [0.2, 0.3],
        "origin": ["b", "a"],
        "position": [2, 3],
        "label": [1, 0],
        "spread": [0.0, 0.0],
        "answers": [1, 1],
    }


def test_frame_with_what_stands_behind_the_scores(part: Candidates) -> None:
    numbers = np.array([[1, 2], [3, 4]])
    frame = part.frame(numbers / 10, spread=numbers / 100, answers=numbers)
    assert frame["spread"].tolist() == [0.02, 0.03]
    assert frame["answers"].tolist() == [2, 3]


def test_empty_frame(part: Candidates) -> None:
    nothing = Candidates(
        part.users, part.positions, 0 * part.items, part.origins, part.labels
    )
    assert len(nothing.frame(np.zeros((2, 2)))) == 0
