import copy
import io

import pytest
from rich.console import Console

from keras_sllmr.evaluation.terminal import comparison_table, short, stage_table


def difference(slice_, value, low, high, method="sllmr"):
    return {
        "metric": "auc_sampled",
        "slice": slice_,
        "method": method,
        "baseline": "none",
        "difference": value,
        "low": low,
        "high": high,
        "level": 0.9,
        "users": 9,
    }


METRICS = {
    "name": "demo",
    "slices": {
        "all": {"rows": 22363, "users": 22363},
        "cold": {"rows": 311, "users": 311},
        "tail": {"rows": 58, "users": 58},
    },
    "methods": {
        "none": {
            "label": "None",
            "auc_sampled": {"all": 0.81234, "cold": 0.8, "tail": 0.6},
            "auc_full": {"all": 0.75},
        },
        "sllmr": {
            "label": "S-LLMR",
            "auc_sampled": {"all": 0.82234, "cold": 0.801, "tail": 0.58},
            "auc_full": {"all": 0.76},
        },
    },
    "differences": [
        difference("all", 0.01, 0.004, 0.016),
        difference("cold", 0.001, -0.002, 0.004),
        difference("tail", -0.02, -0.03, -0.01),
    ],
    "stages": [
        {"name": "import", "seconds": 1.25, "skipped": False},
        {"name": "score", "seconds": 100.0, "skipped": True},
        {"name": "train", "seconds": 64.0, "skipped": False},
    ],
}


@pytest.fixture
def metrics():
    return copy.deepcopy(METRICS)


def shown(table, width=80, **options):
    out = io.StringIO()
    Console(file=out, width=width, **options).print(table)
    return out.getvalue()


def lines(text):
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.parametrize("plain", [False, True])
def test_rows_are_the_inputs_numbers(metrics, plain):
    text = lines(shown(comparison_table(metrics, plain=plain)))
    assert "metric slice rows None S-LLMR difference" in text
    assert "auc_sampled all 22,363 0.8123 0.8223 +.0100 [+.0040, +.0160] better" in text
    assert "cold 311 0.8000 0.8010 +.0010 [-.0020, +.0040] level" in text
    assert "tail 58 0.6000 0.5800 -.0200 [-.0300, -.0100] worse" in text
    assert "auc_full all 22,363 0.7500 0.7600" in text
    assert "Differences are to None, with their 90% confidence interval." in text


def test_plain_is_ascii_without_colour(metrics):
    text = shown(
        comparison_table(metrics, plain=True), force_terminal=True, no_color=False
    )
    assert text.isascii() and "\x1b" not in text


def test_colour_only_where_the_interval_excludes_zero(metrics):
    text = shown(
        comparison_table(metrics), force_terminal=True, color_system="standard"
    )
    assert "\x1b[32mbetter" in text and "\x1b[31mworse" in text
    assert "\x1b[2mlevel" in text


@pytest.mark.parametrize("plain", [False, True])
def test_many_methods_fit_80_columns(metrics, plain):
    for name, label in (("kd", "KD"), ("global", "Global pairwise")):
        metrics["methods"][name] = {**metrics["methods"]["sllmr"], "label": label}
        metrics["differences"].append(difference("all", 0.5, 0.4, 0.6, name))
    text = shown(comparison_table(metrics, plain=plain))
    assert "…" not in text
    assert "metric slice rows method value difference" in lines(text)
    assert "auc_sampled all 22,363 None 0.8123" in lines(text)
    assert "KD 0.8223 +.5000 [+.4000, +.6000] better" in lines(text)


def test_none_alone_has_no_difference_column(metrics):
    del metrics["methods"]["sllmr"]
    metrics["differences"] = []
    text = shown(comparison_table(metrics))
    assert "difference" not in text.lower()
    assert "auc_sampled all 22,363 0.8123" in lines(text)


def test_missing_value_is_a_dash(metrics):
    del metrics["methods"]["sllmr"]["auc_full"], metrics["slices"]
    text = lines(shown(comparison_table(metrics)))
    assert "auc_full all - 0.7500 -" in text


def test_empty_metrics_make_an_empty_table():
    assert comparison_table({}).row_count == 0
    assert stage_table({}).row_count == 0


def test_hostile_names_are_text(metrics):
    metrics["name"] = "\x1b[2J[red]x[/red]"
    metrics["methods"]["sllmr"]["label"] = "[/]\x1b]0;t\x07"
    metrics["stages"][0]["name"] = "[bold]\x1b[1m"
    text = shown(comparison_table(metrics)) + shown(stage_table(metrics))
    assert "\x1b" not in text and "\x07" not in text
    assert "[red]x[/red]" in text and "[bold]" in text and "[/]" in text


@pytest.mark.parametrize("plain", [False, True])
def test_stage_table_sums_what_was_run(metrics, plain):
    text = lines(shown(stage_table(metrics, plain=plain)))
    assert "import 1.2 s" in text
    assert "score 1 min 40 s skipped, unchanged" in text
    assert "total 1 min 05 s" in text


def test_short_holds_values_differences_and_verdicts(metrics):
    found = short(metrics)
    assert found["name"] == "demo"
    assert found["results"][0] == {
        "metric": "auc_sampled",
        "slice": "all",
        "rows": 22363,
        "values": {"none": 0.81234, "sllmr": 0.82234},
    }
    assert [one["verdict"] for one in found["differences"]] == [
        "better",
        "level",
        "worse",
    ]


def test_an_estimate_is_called_one(metrics):
    metrics["methods"]["sllmr"]["full_sample"] = 100
    said = "auc_full of S-LLMR is an estimate, from 100 drawn items a test row."
    printed = shown(comparison_table(metrics, plain=True), color_system=None)
    assert said in " ".join(printed.split())
