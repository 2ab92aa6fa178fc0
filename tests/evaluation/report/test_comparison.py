import pytest

from keras_sllmr.evaluation.report.comparison import (
    Difference,
    comparison_rows,
    labels,
    lead_method,
    levels,
    places,
)


def difference(low, high, metric="auc_full"):
    middle = (low + high) / 2
    return Difference(metric, "all", "sllmr", "none", middle, low, high, 0.95, 9)


@pytest.mark.parametrize(
    ("low", "high", "metric", "verdict"),
    [
        (0.001, 0.002, "auc_full", "better"),
        (-0.002, -0.001, "auc_full", "worse"),
        (-0.001, 0.002, "auc_full", "level"),
        (0.0, 0.002, "auc_full", "level"),
        (-0.002, 0.0, "auc_full", "level"),
        (0.001, 0.002, "log_loss", "worse"),
        (-0.002, -0.001, "log_loss", "better"),
        (float("nan"), float("nan"), "auc_full", "level"),
    ],
)
def test_verdict_needs_an_interval_without_zero(low, high, metric, verdict):
    assert difference(low, high, metric).verdict == verdict


def test_difference_reads_as_value_and_interval():
    assert str(difference(-0.006, 0.03)) == "+.0120 [-.0060, +.0300]"


def test_rows_follow_metric_then_slice_and_skip_what_nobody_has(metrics):
    rows = comparison_rows(metrics)
    assert [(row.metric, row.slice) for row in rows] == [
        *[("auc_sampled", s) for s in ("all", "cold", "tail", "tail_rows")],
        *[("auc_full", s) for s in ("all", "cold", "tail")],
    ]
    assert rows[1].rows == 311 and rows[2].users == 57
    assert rows[0].values == {"none": 0.8101, "sllmr": 0.8211}
    assert rows[0].differences["sllmr"].difference == 0.011
    assert rows[5].differences == {}
    assert levels(rows) == "95%"


def test_value_of_one_method_only_is_kept(metrics):
    del metrics["methods"]["none"]["auc_full"]["cold"]
    row = comparison_rows(metrics, ["auc_full"])[1]
    assert row.slice == "cold" and row.values["none"] is None


def test_baseline_comes_first_and_lead_keeps_its_place(metrics):
    methods = metrics["methods"]
    metrics["methods"] = {"kd": {"label": "KD"}, **dict(reversed(methods.items()))}
    assert list(labels(metrics)) == ["none", "kd", "sllmr"]
    assert places(metrics) == {"none": 0, "kd": 2, "sllmr": 1}


def test_other_baselines_and_unknown_differences_are_left_out(metrics):
    metrics["differences"][0]["baseline"] = "kd"
    metrics["differences"][1]["low"] = None
    rows = comparison_rows(metrics)
    assert not rows[0].differences and not rows[1].differences
    assert rows[2].differences


def test_lead_is_the_last_compared_method_when_there_is_no_sllmr(metrics):
    for one in metrics["differences"]:
        one["method"] = "kd"
    assert lead_method(metrics) == "kd"
    assert lead_method({}) is None
