from dataclasses import replace

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.bootstrap import paired_bootstrap
from keras_sllmr.evaluation.compare import CompareSettings, compare
from keras_sllmr.evaluation.delong import delong
from keras_sllmr.evaluation.metrics import metric_values

FEW = CompareSettings(replicates=200)


def differences(comparison, group=0):
    return {
        (one["method"], one["metric"], one["slice"]): one
        for one in comparison["groups"][group]["differences"]
    }


def test_one_seed_is_a_paired_bootstrap(result_of):
    none, sllmr = result_of("none"), result_of("sllmr", skill=1.5, label="S-LLMR")
    comparison = compare([none, sllmr], settings=FEW)
    (group,) = comparison["groups"]
    assert (group["domain"], group["backbone"], group["seeds"]) == (
        "shop",
        "deepfm",
        [0],
    )
    assert group["slices"]["cold"] == {"rows": 20, "users": 20}
    assert group["methods"]["sllmr"]["label"] == "S-LLMR"
    observed = metric_values(sllmr)
    for metric in observed:
        for name, value in observed[metric].items():
            assert group["methods"]["sllmr"][metric][name] == pytest.approx(value[0])
    one = differences(comparison)["sllmr", "auc_sampled", "all"]
    users = np.tile(none.users, 2)
    expected = paired_bootstrap(
        users, sllmr.logits, none.logits, labels=none.labels, replicates=200
    )
    assert one["difference"] == pytest.approx(expected.difference)
    assert (one["low"], one["high"]) == pytest.approx((expected.low, expected.high))
    test = delong(none.labels, sllmr.logits, none.logits)
    assert one["p_value"] == pytest.approx(test.p_value)
    assert one["verdict"] == "better"
    assert one["by_seed"] == [one["difference"]]
    assert differences(comparison)["sllmr", "auc_full", "all"]["p_value"] is None


def test_seeds_are_paired_and_averaged(result_of):
    results = [
        result_of(method, seed, skill=1 + 0.2 * seed + (method == "sllmr"))
        for method in ("none", "sllmr")
        for seed in range(3)
    ]
    comparison = compare([*results, result_of("none", 9)], settings=FEW)
    (group,) = comparison["groups"]
    auc = [metric_values(result)["auc_sampled"]["all"][0] for result in results]
    assert group["seeds"] == [0, 1, 2, 9]
    sllmr = group["methods"]["sllmr"]
    assert sllmr["auc_sampled"]["all"] == pytest.approx(np.mean(auc[3:]))
    assert sllmr["spread"]["auc_sampled"]["all"] == pytest.approx(
        np.std(auc[3:], ddof=1)
    )
    one = differences(comparison)["sllmr", "auc_sampled", "all"]
    assert one["by_seed"] == pytest.approx(np.subtract(auc[3:], auc[:3]))
    assert one["difference"] == pytest.approx(np.mean(one["by_seed"]))


def test_seeds_that_disagree_widen_the_interval_unless_fixed(result_of):
    def width(seeds):
        results = [
            result_of(method, seed, skill=1 + (seed - 1) * (method == "sllmr"))
            for method in ("none", "sllmr")
            for seed in range(3)
        ]
        settings = FEW.model_copy(update={"seeds": seeds})
        one = differences(compare(results, settings=settings))
        one = one["sllmr", "auc_sampled", "all"]
        return one["high"] - one["low"], one["by_seed"]

    resampled, by_seed = width("resampled")
    fixed, _ = width("fixed")
    assert resampled > 1.5 * fixed
    # The seeds' own variance: 1.96 standard errors on both sides, users aside.
    assert resampled > 3 * np.std(by_seed, ddof=1) / np.sqrt(3)


def test_a_family_is_all_methods_and_groups_of_a_metric_and_slice(result_of):
    def one_of(*others):
        results = [result_of("none"), result_of("sllmr", skill=1.1), *others]
        found = differences(compare(results, settings=FEW))
        return found["sllmr", "auc_sampled", "all"]

    others = [
        result_of(f"m{k}", skill=1.1, backbone=backbone)
        for backbone in ("deepfm", "dcn")
        for k in range(5)
    ]
    alone, among = one_of(), one_of(*others, result_of("none", backbone="dcn"))
    assert among["difference"] == alone["difference"]
    assert among["high"] - among["low"] > 1.2 * (alone["high"] - alone["low"])
    assert among["p_value"] >= alone["p_value"]


def test_less_is_better_of_a_loss(result_of):
    results = [result_of("none", skill=0.2), result_of("sllmr", skill=3.0)]
    found = differences(compare(results, settings=FEW))
    assert found["sllmr", "log_loss", "all"]["difference"] < 0
    assert found["sllmr", "log_loss", "all"]["verdict"] == "better"
    swapped = compare(
        results, settings=CompareSettings(baseline="sllmr", replicates=200)
    )
    assert differences(swapped)["none", "log_loss", "all"]["verdict"] == "worse"


def test_an_empty_slice_is_none_throughout(result_of):
    results = [
        replace(one, slices={**one.slices, "nobody": np.zeros(60, bool)})
        for one in (result_of("none"), result_of("sllmr"))
    ]
    comparison = compare(results, settings=FEW)
    (group,) = comparison["groups"]
    assert group["slices"]["nobody"] == {"rows": 0, "users": 0}
    assert group["methods"]["sllmr"]["auc_full"]["nobody"] is None
    one = differences(comparison)["sllmr", "auc_sampled", "nobody"]
    assert one["verdict"] == "level"
    kept = ("difference", "low", "high", "p_value")
    assert [one[key] for key in kept] == [None] * 4


def test_without_the_baseline_or_its_seed(result_of):
    (group,) = compare([result_of("sllmr")], settings=FEW)["groups"]
    assert group["differences"] == []
    results = [result_of("none", 0), result_of("sllmr", 1)]
    assert compare(results, settings=FEW)["groups"][0]["differences"] == []


def test_metrics_that_not_all_seeds_have(result_of):
    results = [
        result_of(method, seed, full=seed == 0)
        for method in ("none", "sllmr")
        for seed in (0, 1)
    ]
    comparison = compare(results, settings=FEW)
    found = differences(comparison)
    assert len(found["sllmr", "auc_full", "all"]["by_seed"]) == 1
    assert len(found["sllmr", "auc_sampled", "all"]["by_seed"]) == 2
    one = compare([results[0], results[2]], settings=FEW)
    sllmr = comparison["groups"][0]["methods"]["sllmr"]
    assert sllmr["auc_full"] == one["groups"][0]["methods"]["sllmr"]["auc_full"]
    assert "auc_full" not in sllmr["spread"]


def test_the_same_twice(result_of):
    results = [result_of("none"), result_of("sllmr")]
    assert compare(results, settings=FEW) == compare(results, settings=FEW)


def test_other_rows_are_refused(result_of):
    with pytest.raises(ConfigError, match="'shop' must be on the same test rows"):
        compare([result_of("none"), result_of("sllmr", rows=50)])
    two = [result_of("none"), result_of("none", rows=50, domain="toys")]
    assert len(compare(two, settings=FEW)["groups"]) == 2
    with pytest.raises(ConfigError, match="none"):
        compare([])
