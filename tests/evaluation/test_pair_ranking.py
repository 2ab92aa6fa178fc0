import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError, DataError
from keras_sllmr.evaluation.evaluate import evaluate_model
from keras_sllmr.evaluation.heldout import HOW, EvaluationSettings, TestRows
from keras_sllmr.evaluation.metrics import metric_values
from keras_sllmr.evaluation.pair_ranking import sampled_ranking
from keras_sllmr.evaluation.ranking_metrics import auc_full


class Taste:
    """Logits of pairs that a user's taste decides, some of them equal."""

    def __init__(self, n_items):
        self.n_items = n_items

    def logits(self, users, positions, items):
        assert len(users) == len(positions) == len(items)
        return ((items * (3 + users[:, None])) % self.n_items // 3).astype(np.float32)

    def score(self, features):
        items = np.arange(1, self.n_items + 1)
        users, positions = features["users"], features["positions"]
        return self.logits(users, positions, np.tile(items, [len(users), 1]))


def full(split, scorer):
    from keras_sllmr.evaluation.full_ranking import full_ranking

    targets, events = split.test, split.store.events
    found = full_ranking(
        scorer,
        {"users": targets.users, "positions": targets.positions},
        targets.items,
        (events.values, events.offsets[1:] - events.offsets[1]),
        rows_at_once=7,
    )
    return auc_full(found.above, found.ties, found.candidates)


def sampled(split, scorer, sample, seed=0):
    return sampled_ranking(scorer, split.test, split.seen, sample=sample, seed=seed)


def test_the_estimate_is_within_its_standard_error(split):
    scorer = Taste(split.store.n_items)
    exact = full(split, scorer)
    many = sampled(split, scorer, 400)
    rows = auc_full(many.above, many.ties, many.candidates)
    # Of one draw the variance is at most 1/4.
    assert np.abs(rows - exact).max() < 4.5 * 0.5 / np.sqrt(400)
    assert abs(rows.mean() - exact.mean()) < 3 * 0.5 / np.sqrt(400 * len(rows))
    few = [
        auc_full(f.above, f.ties, f.candidates).mean()
        for f in (sampled(split, scorer, 3, seed) for seed in range(60))
    ]
    error = np.std(few, ddof=1) / np.sqrt(len(few))
    assert abs(np.mean(few) - exact.mean()) < 3.5 * error


def test_the_draws_are_unseen_and_fixed_by_seed_and_user(split):
    class Seen(Taste):
        def logits(self, users, positions, items):
            each = np.repeat(users, items.shape[1] - 1)
            assert not split.seen(each, items[:, 1:].ravel()).any()
            self.drawn = items
            return super().logits(users, positions, items)

    scorer, drawn = Seen(split.store.n_items), []
    for seed in (0, 0, 1):
        told = []
        found = sampled_ranking(
            scorer,
            split.test,
            split.seen,
            sample=20,
            seed=seed,
            progress=lambda done, rows, told=told: told.append((done, rows)),
        )
        assert told == [(len(split.test), len(split.test))]
        assert (found.candidates == 20).all()
        assert (found.above + found.ties <= 20).all()
        drawn.append(scorer.drawn)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(np.unique(drawn[0][:, 1:], axis=0)) == len(split.test)


def test_a_score_that_is_no_number(split):
    class Broken(Taste):
        def logits(self, users, positions, items):
            return np.full(items.shape, np.nan)

    with pytest.raises(DataError, match="diverged"):
        sampled(split, Broken(split.store.n_items), 2)


@pytest.fixture(scope="module")
def model(knowing, split):
    spec = FeatureSpec.of(split.store, history_length=4)
    return knowing("llm_cf", "deepfm", split.store, spec)


def evaluated(model, split, **settings):
    backbone, spec, retrieval = model
    rows = TestRows(split, EvaluationSettings(tail_share=0.5, **settings))
    return evaluate_model(backbone, spec, rows, retrieval=retrieval)


def test_a_model_that_reads_examples_is_ranked_by_a_sample(model, split):
    exact = evaluated(model, split, full_sample=None)
    result = evaluated(model, split, full_sample=50)
    assert result.about["full_sample"] == result.full_sample == 50
    assert result.about["evaluate"]["full_sample"] == 50
    assert (result.ranks["candidates"] == 50).all()
    assert "full_sample" not in exact.about and exact.full_sample is None
    assert exact.about["rows"] == result.about["rows"]
    np.testing.assert_array_equal(exact.logits, result.logits)
    truth, estimate = metric_values(exact), metric_values(result)
    assert set(truth) - set(estimate) == {"ndcg@10", "recall@10"}
    error = 0.5 / np.sqrt(50 * len(result.users))
    difference = truth["auc_full"]["all"][0] - estimate["auc_full"]["all"][0]
    assert abs(difference) < 3 * error


def test_the_exact_ranking_agrees_with_scoring_row_by_row(model, split):
    from keras_sllmr.training.feature_tables import FeatureTables

    backbone, spec, retrieval = model
    result, store = evaluated(model, split, full_sample=None), split.store
    tables = FeatureTables(split, spec, retrieval=retrieval)
    for row in (0, 7):
        user, position = split.test.users[row], split.test.positions[row]
        items = np.setdiff1d(np.arange(1, store.n_items + 1), store.events.row(user))
        asked = np.append(items, split.test.items[row])
        features = tables.features(
            np.full(len(asked), user), np.full(len(asked), position), asked
        )
        *others, positive = backbone(features, training=False).numpy()[:, 0]
        assert result.ranks["candidates"][row] == len(items)
        assert result.ranks["above"][row] == np.sum(np.array(others) > positive)


def test_without_the_full_ranking_nothing_is_estimated(model, split):
    result = evaluated(model, split, full=False)
    assert result.ranks == {} and result.full_sample is None
    assert "full_sample" not in {**result.about, **result.about["evaluate"]}


def test_the_size_of_the_sample_is_no_part_of_other_models():
    some, none = EvaluationSettings(full_sample=7), EvaluationSettings(full_sample=None)
    assert some.what() == none.what() == none.model_dump(mode="json", exclude=HOW)
    assert some.what(pairs=True) == {**some.what(), "full_sample": 7}
    off = EvaluationSettings(full=False)
    assert off.what(pairs=True) == off.what()


def test_examples_must_be_found_by_something(model, split):
    backbone, spec, _ = model
    rows = TestRows(split, EvaluationSettings(tail_share=0.5))
    with pytest.raises(ConfigError, match="Pass the trained model's `retrieval`"):
        evaluate_model(backbone, spec, rows)
