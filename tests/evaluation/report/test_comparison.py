import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.evaluation.report.comparison import (
    Difference,
    comparison_rows,
    headline,
    labels,
    lead_method,
    levels,
    places,
    printable,
    seconds,
    signed,
    slice_title,
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


@given(st.floats(-2, 2))
def test_signed_is_the_rounded_value(value):
    text = signed(value)
    assert text[0] in "+-" and len(text.split(".")[1]) == 4
    assert abs(float(text) - value) <= 0.5001e-4
    assert text != "-.0000"


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


def test_headline_says_better_level_and_worse(metrics):
    assert headline(metrics) == [
        (
            "By auc_sampled, S-LLMR is better than None on all rows (+.0110); "
            "worse on long-tail items (-.0191); level on cold users."
        ),
        "By auc_full, S-LLMR is level with None on all rows.",
    ]


def test_headline_lists_places_and_can_be_all_worse(metrics):
    for one in metrics["differences"]:
        one.update(difference=-0.02, low=-0.03, high=-0.01)
    assert headline(metrics)[0] == (
        "By auc_sampled, S-LLMR is worse than None on all rows (-.0200), "
        "cold users (-.0200) and long-tail items (-.0200)."
    )


def test_headline_without_a_comparison(metrics):
    metrics["differences"] = []
    assert headline(metrics) == [
        "No method was compared with the baseline in this run."
    ]
    assert headline({}) == headline(metrics)


def test_lead_is_the_last_compared_method_when_there_is_no_sllmr(metrics):
    for one in metrics["differences"]:
        one["method"] = "kd"
    assert lead_method(metrics) == "kd"
    assert lead_method({}) is None


def test_printable_drops_what_drives_terminals():
    assert printable("a\x1b[31mb\nc\u202e") == "a [31mb c "
    assert slice_title("new\x07slice") == "new slice"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.96, "1 min 00 s"), (3599.6, "1 h 00 min")],
)
def test_seconds_carry_over(value, text):
    assert seconds(value) == text
