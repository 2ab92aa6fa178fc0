import re

from keras_sllmr.evaluation.report import write_comparison
from keras_sllmr.evaluation.report.html import render_comparison

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=1>$\\bad{\x1b]\ud800"


def headings(html):
    return re.findall(r"<h2 [^>]*>(.*?)</h2>", html)


def test_every_section_is_there(comparison, undrawn):
    assert headings(render_comparison(comparison)) == [
        "Verdicts",
        "beauty",
        "toys, deepfm",
        "Gain of S-LLMR over None",
        "Gain of every method over None",
        "Gain of S-LLMR by seed",
        "How to read the intervals",
        "Settings",
    ]


def test_numbers_are_the_inputs(comparison, parse, undrawn):
    text = parse(render_comparison(comparison)).text
    assert "auc_sampled, all, n = 942" in text
    # The worse group's best is not bold: it is not better than the baseline.
    assert (
        "deepfm 0.8101 ± 0.0012 0.8211 ± 0.0012 +.0110 [+.0060, +.0160] better" in text
    )
    assert "−.0190 [−.0240, −.0140] worse" in text
    assert "2 better · 1 worse" in text
    assert "+.0100, +.0110, +.0120 < 0.0001" in text
    assert (
        "replicates 1000" in text and "domains : beauty, toys".replace(" :", "") in text
    )


def test_bold_only_where_the_best_is_better(comparison, parse, undrawn):
    comparison["groups"] = comparison["groups"][:2]
    page = parse(render_comparison(comparison))
    # auc_sampled on all rows of the first backbone; of both methods, the first.
    assert len(page.named("strong")) == 1


def test_page_is_whole_and_asks_the_network_for_nothing(comparison, parse):
    comparison["groups"] = comparison["groups"][1:]
    html = render_comparison(comparison)
    page = parse(html)
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert all(svg["aria-label"] for svg in page.named("svg"))
    assert len(page.named("caption")) == len(page.named("table"))
    assert (
        not page.named("script")
        and "http:" not in html
        and "https:" not in html
        and "@import" not in html
    )


def test_reading_says_what_the_intervals_are(comparison, parse, undrawn):
    def text():
        return parse(render_comparison(comparison)).text

    assert "of models trained anew" in text() and "DeLong's test" in text()
    comparison["seeds"] = "fixed"
    assert "these very trained models" in text()
    for group in comparison["groups"]:
        for one in group["differences"]:
            one.update(by_seed=[one["difference"]], p_value=None)
    comparison.update(seeds="resampled", corrected=None)
    # With one seed each there is none to resample, and nothing to draw by seed.
    assert "these very trained models" in text() and "not corrected" in text()
    assert "by seed" not in " ".join(headings(render_comparison(comparison)))
    assert "DeLong's test" not in text()


def test_empty_slices_and_missing_methods(comparison, parse, undrawn):
    first, second, _ = comparison["groups"]
    first["slices"]["a user's slice"] = {"rows": 0, "users": 0}
    for method in first["methods"].values():
        method["auc_full"]["a user's slice"] = None
        method["calibration"] = {"ece": None, "brier": None, "bins": []}
    for one in first["differences"][:3]:
        one.update(difference=None, low=None, high=None, by_seed=[None] * 3)
    del second["methods"]["kd"]
    second["differences"] = [d for d in second["differences"] if d["method"] != "kd"]
    parse(render_comparison(comparison))


def test_slices_of_the_user_have_figures_of_their_own(comparison, parse, undrawn):
    def figures():
        return len(parse(render_comparison(comparison)).named("figure"))

    before = figures()
    for group in comparison["groups"]:
        group["slices"]["short histories"] = {"rows": 9, "users": 9}
        group["differences"] += [
            {**one, "slice": "short histories"}
            for one in group["differences"]
            if (one["metric"], one["slice"]) == ("auc_full", "all")
        ]
    assert figures() == before + 2


def test_another_baseline(comparison, parse, undrawn):
    for group in comparison["groups"]:
        group["differences"] = [
            {**one, "baseline": "kd"}
            for one in group["differences"]
            if one["method"] == "sllmr"
        ]
    html = render_comparison(comparison)
    assert "Gain of S-LLMR over KD" in headings(html)
    assert "S-LLMR is better than KD" in parse(html).text


def test_hostile_names_stay_text(comparison, parse, tmp_path):
    comparison["groups"] = comparison["groups"][:1]
    group = comparison["groups"][0]
    comparison["name"] = group["domain"] = group["backbone"] = HOSTILE
    group["methods"]["sllmr"]["label"] = HOSTILE
    comparison["settings"] = {HOSTILE: HOSTILE}
    html = write_comparison(comparison, tmp_path / "c.html").read_text("utf-8")
    page = parse(html)
    assert page.named("script") == page.named("img") == []
    assert "\x1b" not in html


def test_nothing_at_all(parse):
    for nothing in ({}, {"groups": []}, {"groups": [{}]}, {"groups": [{}, {}]}):
        assert "No method was compared" in parse(render_comparison(nothing)).text


def test_an_estimate_is_called_one(comparison, parse, undrawn):
    for group in comparison["groups"]:
        group["methods"]["sllmr"]["full_sample"] = 100
    said = "auc_full of S-LLMR is an estimate, from 100 drawn items a test row."
    assert said in parse(render_comparison(comparison)).text
