import numpy as np
import pytest

from keras_sllmr.serving.expected import Expected

LEAST = np.finfo(np.float32).min


@pytest.fixture
def expected():
    """Two rows, and two users' rankings of the items 1 to 3; one is padding."""
    return Expected(
        rows=np.array([0.0, 100.0]),
        grid=np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 9.0]]),
        candidates=np.array([[1, 2, 3], [2, 3, 0]]),
        item_ids=np.array(["", "é", "b", "c"], object),
    )


@pytest.fixture
def ranking():
    return {
        "logit": np.array([[1, 3, 2], [5, 4, LEAST]], np.float32),
        "top_logit": np.array([[3, 2], [5, 4]], np.float32),
        "top_item_id": np.array([[b"b", b"c"], [b"b", b"c"]], object),
    }


def test_rows_by_hand(expected):
    found = expected.differences(
        "serving_default",
        {"logit": np.array([0.5, 101.0]), "score": np.array([0.25, 1.0])},
    )
    assert found == pytest.approx({"logit": 0.5, "score": 0.25})
    assert expected.differences(
        "classify",
        {
            "scores": np.array([[0.5, 0.5], [0.0, 1.0]]),
            "classes": np.array([[b"0", b"1"]] * 2, object),
        },
    ) == pytest.approx({"scores": 0, "classes": 0})
    regressed = {"outputs": np.array([[0.5], [0.75]])}
    assert expected.differences("regress", regressed) == pytest.approx(
        {"outputs": 0.25}
    )


def test_a_ranking_by_hand(expected, ranking):
    assert set(expected.differences("rank", ranking).values()) == {0.0}
    dense = {**ranking, "top_item": np.array([[2, 3], [2, 3]])}
    del dense["top_item_id"]
    assert set(expected.differences("rank_dense", dense).values()) == {0.0}


def test_wrong_names_in_the_top_are_noticed(expected, ranking):
    ranking["top_item_id"] = np.array([[b"c", b"b"], [b"b", b"c"]], object)
    found = expected.differences("rank", ranking)
    assert found["top_item_id"] == pytest.approx(1 / 2)
    assert found["top_logit"] == 0
    ranking["top_item_id"] = np.array([["é".encode(), b"x"], [b"b", b"c"]], object)
    assert np.isnan(expected.differences("rank", ranking)["top_item_id"])


def test_shapes_and_nan_are_no_agreement(expected):
    for wrong in (np.zeros(3), np.array([0.0, np.nan]), np.zeros((2, 1))):
        assert np.isnan(
            expected.differences("serving_default", {"logit": wrong})["logit"]
        )
