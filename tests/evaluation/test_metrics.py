from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from keras_sllmr.evaluation.metrics import calibrated, metric_values
from keras_sllmr.evaluation.ranking_metrics import auc_full, ndcg_at


def test_as_observed(result_of):
    result = result_of()
    found = metric_values(result)
    names = ["auc_sampled", "auc_full", "ndcg@10", "recall@10", "log_loss", "brier"]
    assert list(found) == names
    for name, mask in result.sampled().items():
        labels, logits = result.labels[mask], result.logits[mask].astype(float)
        chances = 1 / (1 + np.exp(-logits))
        observed = {
            metric: found[metric][name] for metric in ("auc_sampled", "log_loss")
        }
        assert observed["auc_sampled"] == pytest.approx([roc_auc_score(labels, logits)])
        assert observed["log_loss"] == pytest.approx([log_loss(labels, chances)])
        brier = found["brier"][name]
        assert brier == pytest.approx([brier_score_loss(labels, chances)])
    above, ties, candidates = result.ranks.values()
    cold = result.slices["cold"]
    assert found["auc_full"]["cold"] == pytest.approx(
        auc_full(above, ties, candidates)[cold].mean()
    )
    assert found["ndcg@10"]["all"] == pytest.approx(ndcg_at(above, ties).mean())
    assert "tail_rows" not in found["auc_full"]


def test_draws_are_of_users_and_paired(result_of):
    first, second = result_of("none"), result_of("sllmr")
    ours = metric_values(first, replicates=30, seed=2)
    theirs = metric_values(second, replicates=30, seed=2)
    rng = np.random.default_rng(2)
    for replicate in range(1, 4):
        rows = rng.integers(60, size=60)
        for result, found in ((first, ours), (second, theirs)):
            both = np.concatenate([rows, rows + 60])
            expected = roc_auc_score(result.labels[both], result.logits[both])
            assert found["auc_sampled"]["all"][replicate] == pytest.approx(expected)
            mean = result.ranks["above"][rows].mean()
            assert found["auc_full"]["all"][replicate] == pytest.approx(1 - mean / 100)


def test_a_slice_without_rows_is_nan(result_of):
    result = result_of()
    empty = replace(result, slices={**result.slices, "nobody": np.zeros(60, bool)})
    found = metric_values(empty, replicates=5)
    assert all(np.isnan(found[metric]["nobody"]).all() for metric in found)
    one_class = replace(result, pools={"ones": result.labels == 1})
    assert np.isnan(metric_values(one_class)["auc_sampled"]["ones"][0])
    assert np.isfinite(metric_values(one_class)["log_loss"]["ones"][0])


def test_without_a_full_ranking(result_of):
    assert list(metric_values(result_of(full=False))) == [
        "auc_sampled",
        "log_loss",
        "brier",
    ]


def test_log_loss_is_stable(result_of):
    result = result_of()
    right = np.where(result.labels == 1, 1000.0, -1000.0)
    found = [
        metric_values(replace(result, logits=logits))["log_loss"]["all"][0]
        for logits in (right, -right)
    ]
    assert found == [0, 1000]


def test_calibration(result_of):
    result = result_of()
    sure = replace(result, logits=np.where(result.labels == 1, 50.0, -50.0))
    assert calibrated(sure)["ece"] == pytest.approx(0)
    half = replace(result, logits=np.zeros(120))
    found = calibrated(half)
    assert (found["ece"], found["brier"]) == (0, 0.25)
    assert [one["pairs"] for one in found["bins"]] == [120]


def test_a_ranking_against_drawn_items_estimates_the_auc_alone(result_of):
    result, drawn = result_of(), result_of(full_sample=100)
    assert drawn.full_sample == 100 and result.full_sample is None
    assert result_of(full=False, full_sample=100).full_sample is None
    found, all_of_them = metric_values(drawn), metric_values(result)
    assert list(found) == ["auc_sampled", "auc_full", "log_loss", "brier"]
    assert found["auc_full"]["cold"] == all_of_them["auc_full"]["cold"]
