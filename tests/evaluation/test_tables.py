import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from keras_sllmr.evaluation.compare import CompareSettings, compare
from keras_sllmr.evaluation.tables import caption, comparison_frame, write_tables
from keras_sllmr.evaluation.terminal import compare_tables


@pytest.fixture(scope="module")
def comparison(result_of):
    results = [
        result_of(method, seed, skill=skill, backbone=backbone, label=label)
        for backbone in ("deepfm", "din_50%")
        for method, label, skill in (("none", "None", 1.0), ("sllmr", "S-LLMR", 3.0))
        for seed in (0, 1)
    ]
    return compare(results, settings=CompareSettings(replicates=60))


def test_frame(comparison):
    frame = comparison_frame(comparison)
    # 2 backbones x 2 methods x (3 metrics of 3 slices and 3 of 2).
    assert len(frame) == 2 * 2 * (3 * 3 + 3 * 2)
    line = frame.query(
        "backbone == 'deepfm' and metric == 'auc_sampled' and slice == 'cold'"
        " and method == 'sllmr'"
    ).iloc[0]
    group = comparison["groups"][0]
    assert line["value"] == group["methods"]["sllmr"]["auc_sampled"]["cold"]
    assert (line["rows"], line["users"], line["seeds"]) == (20, 20, 2)
    assert line["spread"] > 0
    assert line["verdict"] == "better"
    assert len(line["by_seed"].split()) == 2
    assert frame[frame["method"] == "none"]["difference"].isna().all()


def test_files(comparison, tmp_path):
    csv, markdown, latex = write_tables(comparison, tmp_path / "out", stem="table")
    read = pd.read_csv(csv)
    expected = comparison_frame(comparison)
    assert np.array_equal(read["value"], expected["value"])
    text = markdown.read_text()
    assert "## auc_sampled, cold" in text
    value = comparison["groups"][1]["methods"]["sllmr"]["auc_full"]["all"]
    assert f"{value:.4f}" in text
    assert "| shop     | din_50%    | 60  |" in text
    assert "▲" in text
    tex = latex.read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\toprule") == 15
    assert r"din\_50\%" in tex
    assert r"$^{\uparrow}$" in tex
    assert "▲" not in tex
    # No sign of LaTeX stands unescaped in what came from outside.
    assert "din_50" not in tex


def test_what_a_method_read_is_no_metric(result_of):
    results = [result_of("none"), result_of("kar", described=True, full_sample=9)]
    plain = compare(results[:1], settings=CompareSettings(replicates=5))
    found = compare(results, settings=CompareSettings(replicates=5))
    frame = comparison_frame(found)
    assert set(frame["metric"]) == set(comparison_frame(plain)["metric"])
    assert "put together from the items' texts" in caption(found)


def test_caption(comparison, result_of):
    assert "over users and seeds" in caption(comparison)
    fixed = CompareSettings(replicates=5, seeds="fixed")
    results = [result_of("none", seed) for seed in (0, 1)]
    assert "seeds as they are;" in caption(compare(results, settings=fixed))
    assert "over users;" in caption(compare(results[:1], settings=fixed))


def test_terminal(comparison):
    console = Console(file=io.StringIO(), width=110, color_system=None)
    for table in compare_tables(comparison, plain=True):
        console.print(table)
    text = console.file.getvalue()
    assert text.count("deepfm") == text.count("din_50%") == 2
    assert "better" in text
    assert "auc_full" in text and "log_loss" not in text
    (table,) = compare_tables(comparison, metrics=["log_loss", "no_such"])
    assert table.title.plain == "log_loss"


def test_an_empty_slice_and_no_differences(result_of, tmp_path):
    result = result_of("none")
    empty = replace(result, slices={**result.slices, "nobody": np.zeros(60, bool)})
    comparison = compare([empty], settings=CompareSettings(replicates=5))
    files = write_tables(comparison, tmp_path, stem="one")
    assert "| shop     | deepfm     | 0   | -      |" in files[1].read_text()
    console = Console(file=io.StringIO(), width=110)
    for table in compare_tables(comparison):
        console.print(table)
    assert "nobody" not in console.file.getvalue()


def test_an_estimate_is_called_one(result_of, tmp_path):
    results = [
        result_of("none", label="None"),
        result_of("llm_cf", label="LLM-CF", full_sample=100),
    ]
    comparison = compare(results, settings=CompareSettings(replicates=20))
    (group,) = comparison["groups"]
    assert group["methods"]["llm_cf"]["full_sample"] == 100
    assert "full_sample" not in group["methods"]["none"]
    compared = {one["metric"] for one in group["differences"]}
    assert compared == {"auc_sampled", "auc_full", "log_loss", "brier"}
    frame = comparison_frame(comparison)
    assert list(frame.query("metric == 'ndcg@10'")["method"]) == ["none"] * 2
    said = "auc_full of LLM-CF is an estimate, from 100 drawn items a test row."
    assert caption(comparison).endswith(said)
    _, markdown, latex = write_tables(comparison, tmp_path, stem="table")
    assert said in markdown.read_text()
    assert said.replace("_", r"\_") in latex.read_text()
    printed = io.StringIO()
    Console(file=printed, width=200).print(*compare_tables(comparison, plain=True))
    assert said in " ".join(printed.getvalue().split())
    alone = compare(results[1:], settings=CompareSettings(replicates=20))
    assert str(compare_tables(alone, plain=True)[-1].caption) == said
