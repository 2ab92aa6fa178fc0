import itertools
import re

import pytest

from keras_sllmr.evaluation.report import write_report
from keras_sllmr.evaluation.report.html import render

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=1>$\\bad{\x1b]\ud800"


def test_numbers_are_the_inputs(metrics, parse, undrawn):
    text = parse(render(metrics)).text
    for method in metrics["methods"].values():
        for metric in ("auc_sampled", "auc_full", "log_loss", "ndcg@10"):
            assert metric in text
            for value in method[metric].values():
                assert f"{value:.4f}" in text
    assert "+.0110 [+.0060, +.0160] better" in text
    assert "+.0051 [−.0001, +.0103] level" in text
    assert "−.0191 [−.0291, −.0091] worse" in text
    assert "95% confidence interval" in text
    for shown in ("n = 1,243", "90,210", "20,123", "1 min 15 s", "0.4123", "0.6123"):
        assert shown in text
    # Coverage by origin: 9,000 of 30,000 scores, 2% of all pairs.
    assert "popular 9,000 30.0% 0.600%" in text
    assert "ab12cd34" in text
    assert "train.hidden [200, 80]" in text and "empty {}" in text


def test_headline_stands_first(metrics, parse, undrawn):
    text = parse(render(metrics)).text
    assert text.index("better than None on all rows") < text.index("Comparison")
    assert "worse on long-tail items (−.0191)" in text


def test_page_is_whole_labelled_and_asks_the_network_for_nothing(metrics, parse):
    html = render(metrics)
    page = parse(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert all(svg["aria-label"] for svg in page.named("svg"))
    assert len(page.named("svg")) == len(page.named("figure")) == 8
    assert len(page.named("caption")) == len(page.named("table"))
    for section in page.named("section"):
        assert section["aria-labelledby"] in ids
    assert [len(page.named(tag)) for tag in ("h1", "script", "link", "img")] == [
        1,
        0,
        0,
        0,
    ]
    for _, attributes in page.tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert "http://" not in html and "https://" not in html
    assert all(url.startswith("#") for url in re.findall(r"url\(([^)]*)", html))
    assert "@import" not in html
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))


def test_hostile_names_stay_text(metrics, parse, tmp_path):
    metrics["name"] = HOSTILE
    metrics["methods"]["sllmr"]["label"] = HOSTILE
    metrics["teacher"]["name"] = HOSTILE
    metrics["teacher"]["origins"] = {HOSTILE: 1}
    metrics["stages"][0]["name"] = HOSTILE
    metrics["settings"] = {HOSTILE: {"a": HOSTILE}}
    metrics["slices"][HOSTILE] = {"rows": 3, "users": 3}
    for method in metrics["methods"].values():
        method["auc_full"][HOSTILE] = 0.5
    metrics["differences"].append({**metrics["differences"][0], "slice": HOSTILE})
    metrics["differences"].append(
        {**metrics["differences"][0], "metric": "auc_full", "slice": HOSTILE}
    )
    path = write_report(metrics, tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    page = parse(html)
    assert page.named("script") == page.named("img") == []
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in html


def test_equal_metrics_give_equal_bytes(metrics, tmp_path):
    first = write_report(metrics, tmp_path / "a.html").read_bytes()
    assert write_report(metrics, tmp_path / "b.html").read_bytes() == first


def headings(html):
    return re.findall(r"<h2 [^>]*>(.*?)</h2>", html)


def test_every_section_is_there(metrics, undrawn):
    assert headings(render(metrics)) == [
        "Comparison",
        "Gain over None by slice",
        "Training",
        "Gate",
        "Teacher",
        "Data",
        "Time",
        "Settings",
    ]


@pytest.mark.parametrize(
    ("key", "gone"),
    [
        ("differences", {"Gain over None by slice"}),
        ("training", {"Training", "Gate"}),
        ("teacher", {"Teacher"}),
        ("store", {"Data"}),
        ("slices", set()),
        ("stages", set()),
        ("settings", set()),
        ("methods", {"Comparison", "Gain over None by slice", "Training"}),
    ],
)
def test_missing_piece_drops_its_section(metrics, parse, key, gone, undrawn):
    whole = {*headings(render(metrics))}
    del metrics[key]
    html = render(metrics)
    parse(html)
    assert whole - {*headings(html)} == gone


def test_run_without_sllmr_has_no_gate_and_says_so(metrics, parse, undrawn):
    del metrics["methods"]["sllmr"], metrics["training"]["sllmr"]
    metrics["differences"] = []
    html = render(metrics)
    assert "No method was compared" in parse(html).text
    assert "S-LLMR" not in html
    assert "Gate" not in headings(html) and "Training" in headings(html)


def test_teacher_without_reliability_keeps_its_coverage(metrics, parse, undrawn):
    del metrics["teacher"]["reliability"], metrics["teacher"]["origins"]
    text = parse(render(metrics)).text
    assert "all 30,000 100.0% 2.000%" in text and "Reliability" not in text


def test_losses_that_a_method_does_not_have_are_not_drawn(metrics, parse, undrawn):
    before = parse(render(metrics)).named("svg")
    for epoch in metrics["training"]["none"]["epochs"]:
        epoch.update(base_loss=epoch["loss"], pair_loss=0.0, gate_loss=0.0)
    page = parse(render(metrics))
    assert len(page.named("svg")) == len(before)
    assert "None, base loss" not in page.text and "S-LLMR, base loss" in page.text


def test_counts_that_are_there_are_shown(metrics, parse, undrawn):
    metrics["teacher"]["missing"] = 12
    metrics["training"]["sllmr"]["pairs_per_batch"] = 431.25
    for epoch in metrics["training"]["sllmr"]["epochs"]:
        epoch.update(alpha_pairs=8123.0, rows_per_second=15000.4)
    text = parse(render(metrics)).text
    assert "of 942 users; 12 came back without a score." in text
    assert "n = 8,123 pairs." in text
    assert "S-LLMR 15,000 3 3 431.2" in text and "8,123 15,000" in text


def test_no_epochs_at_all(metrics, undrawn):
    for run in metrics["training"].values():
        run["epochs"] = []
    assert not {"Training", "Gate"} & {*headings(render(metrics))}


def test_nothing_at_all(parse):
    page = parse(render({}))
    assert "No method was compared" in page.text


def test_many_methods(metrics, parse, undrawn):
    for name in ("kd", "kar", "llmcf", "global", "pointwise", "a", "b"):
        metrics["methods"][name] = {**metrics["methods"]["sllmr"], "label": name}
        metrics["training"][name] = metrics["training"]["sllmr"]
        metrics["differences"] += [
            {**one, "method": name}
            for one in metrics["differences"]
            if one["method"] == "sllmr"
        ]
    page = parse(render(metrics))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)


def test_failed_write_keeps_the_older_report(metrics, tmp_path):
    path = write_report(metrics, tmp_path / "report.html")
    before = path.read_bytes()
    metrics["stages"] = [{"name": "broken"}]
    with pytest.raises(KeyError):
        write_report(metrics, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_empty_slices_are_dashes(metrics, parse, undrawn):
    metrics["slices"]["nobody"] = {"rows": 0, "users": 0}
    for method in metrics["methods"].values():
        method["auc_full"]["nobody"] = None
    metrics["methods"]["none"]["auc_full"]["tail"] = float("nan")
    for one in metrics["differences"]:
        one.update(difference=None, low=None, high=None)
    metrics["teacher"]["reliability"]["slices"]["nobody"] = {
        "pairs": 0,
        "accuracy": None,
    }
    text = parse(render(metrics)).text
    assert "nobody 0 -" in text and "nan" not in text
    assert "tail n = 58 - 0.6112" in text


def test_many_slices_fold_the_other_metrics(metrics, parse, undrawn):
    before = parse(render(metrics)).named("summary")
    for n in range(20):
        name = f"history_length_between_{n}_and_{n + 1}"
        metrics["slices"][name] = {"rows": 9, "users": 9}
        for method in metrics["methods"].values():
            for metric in ("auc_full", "log_loss"):
                method[metric][name] = 0.5
    html = render(metrics)
    assert len(parse(html).named("summary")) == len(before) + 1
    # Long names may be broken where their words are joined.
    assert "history_<wbr>length_<wbr>between_" in html


def test_an_estimate_is_called_one(metrics, parse, undrawn):
    metrics["methods"]["sllmr"]["full_sample"] = 100
    said = "auc_full of S-LLMR is an estimate, from 100 drawn items a test row."
    assert said in parse(render(metrics)).text
