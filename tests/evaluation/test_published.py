import io

import pytest
from rich.console import Console

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.evaluation.compare import CompareSettings, compare
from keras_sllmr.evaluation.published import beside, read_published
from keras_sllmr.evaluation.report import write_comparison
from keras_sllmr.evaluation.tables import comparison_frame, write_tables
from keras_sllmr.evaluation.terminal import compare_tables

HEAD = "domain,backbone,method,metric,slice,value\n"
PAPER = HEAD + (
    "shop,deepfm,none,auc_sampled,all,.7853\n"
    "shop,deepfm,none,auc_sampled,no_such,.1\n"
    "shop,deepfm,kd,auc_sampled,all,.2\n"
    "toys,deepfm,none,auc_sampled,all,.3\n"
)


@pytest.fixture(scope="module")
def comparison(result_of):
    results = [
        result_of(method, skill=skill, backbone=backbone, full=False)
        for backbone in ("deepfm", "din")
        for method, skill in (("none", 1.0), ("sllmr", 2.0))
    ]
    return compare(results, settings=CompareSettings(replicates=20))


@pytest.fixture
def paper(tmp_path):
    path = tmp_path / "paper.csv"
    path.write_text(PAPER)
    return path


def test_only_what_is_compared_is_taken(comparison, paper):
    together = beside(comparison, read_published(paper), source="paper")
    deepfm, din = together["groups"]
    assert deepfm["methods"]["none"]["published"] == {"auc_sampled": {"all": 0.7853}}
    assert "published" not in deepfm["methods"]["sllmr"]
    assert (deepfm["published"], "published" in din) == ("paper", False)
    assert "published" not in comparison["groups"][0]
    frame = comparison_frame(together)
    known = frame[frame["published"].notna()]
    assert known[["backbone", "method", "metric", "slice"]].to_numpy().tolist() == [
        ["deepfm", "none", "auc_sampled", "all"]
    ]
    # The figures of the comparison itself stay as they were.
    unchanged = frame.drop(columns="published")
    assert unchanged.equals(comparison_frame(comparison).drop(columns="published"))


def test_every_form_shows_both_figures(comparison, paper, tmp_path):
    together = beside(comparison, read_published(paper), source="paper")
    ours = comparison["groups"][0]["methods"]["none"]["auc_sampled"]["all"]
    both = f"{ours:.4f} (0.7853)"
    _, markdown, latex = write_tables(together, tmp_path / "out", stem="table")
    console = Console(file=io.StringIO(), width=110, color_system=None)
    for table in compare_tables(together, plain=True):
        console.print(table)
    for text in (markdown.read_text(), latex.read_text(), console.file.getvalue()):
        assert text.count(both) == 1
        assert "In parentheses: paper." in " ".join(text.split())
    page = write_comparison({"name": "both", **together}, tmp_path / "page.html")
    assert page.read_text().count("(0.7853)") == 1
    assert "In parentheses" not in str(write_tables(comparison, tmp_path, stem="one"))


def test_none_of_this_comparison(comparison, paper):
    paper.write_text(HEAD + "toys,deepfm,none,auc_sampled,all,.3\n")
    with pytest.raises(ConfigError, match="with none of shop deepfm, shop din"):
        beside(comparison, read_published(paper), source="paper")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("domain,backbone\n", "without method, metric, slice, value"),
        (HEAD + "a,b,c,d,e,much\n", "'much' in line 2"),
        (HEAD + "a,b,c,d,e,1\na,b,c,d,f,\n", "'' in line 3"),
        (HEAD + "a,b,c,d,e,inf\n", "'inf' in line 2"),
        (HEAD + "a,b,c,d,e,1\n" * 2, "a b c d e again in line 3"),
    ],
)
def test_wrong_files(paper, text, said):
    paper.write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_published(paper)


def test_unreadable_files(tmp_path):
    with pytest.raises(StoreError, match="can't be read"):
        read_published(tmp_path / "missing.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(StoreError, match="can't be read"):
        read_published(tmp_path / "empty.csv")
