import pytest

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.serving.export import export_model
from keras_sllmr.serving.recommend import recommend


@pytest.fixture(scope="module")
def by_index(make_digits, spec, store, tmp_path_factory):
    """An export whose logit is the item's index."""
    folder = tmp_path_factory.mktemp("models")
    return export_model(make_digits(item=()), spec, store, folder, name="by_index")


def test_the_best_come_first_with_their_scores(by_index):
    found = recommend(by_index, ["a"], [" d ", "a", '"h"', "new"], k=3)
    assert [item for item, _ in found] == ["a", '"h"', " d "]
    assert [round(score, 4) for _, score in found] == [0.9526, 0.8808, 0.7311]


def test_ties_are_in_order_of_the_ids_and_k_may_exceed_the_candidates(by_index):
    found = recommend(by_index, [], ["z", "new", "a", "A"], k=10)
    assert [item for item, _ in found] == ["a", "A", "new", "z"]
    assert found[1:] == [("A", 0.5), ("new", 0.5), ("z", 0.5)]


def test_scores_that_round_to_one_are_ranked_by_logit(
    make_digits, spec, store, tmp_path
):
    digits = make_digits(item=(), history=(3,))
    path = export_model(digits, spec, store, tmp_path, name="large")
    found = recommend(path, ["a"], [" d ", "é", "a"])
    assert found == [("é", 1.0), ("a", 1.0), (" d ", 1.0)]


def test_history_counts(exported, items):
    first = recommend(exported.path, ["a", "é"], items)
    assert first == recommend(exported.path, ["unknown", "a", "é"], items)
    assert dict(first) != dict(recommend(exported.path, ["é", "b\tc"], items))
    assert sorted(item for item, _ in first) == items


def test_user_is_used_by_models_that_have_one(make_digits, spec, store, tmp_path):
    path = export_model(make_digits(user=()), spec, store, tmp_path, name="users")
    scores = [
        recommend(path, [], ["a"], user_id=user)[0][1] for user in ("", "u1", "u2")
    ]
    assert [round(score, 4) for score in scores] == [0.5, 0.7311, 0.8808]


def test_bad_arguments(by_index, tmp_path):
    with pytest.raises(ConfigError, match="Received: k=0"):
        recommend(by_index, [], ["a"], k=0)
    with pytest.raises(ConfigError, match="at least one item"):
        recommend(by_index, [], [])
    with pytest.raises(StoreError, match="Export it again"):
        recommend(tmp_path, [], ["a"])
