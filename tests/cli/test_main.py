import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from keras_sllmr.cli.main import app
from keras_sllmr.cli.stages import metrics_for
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.text_vectors import TextVectors

COMMANDS = [
    "import",
    "stats",
    "encode",
    "score",
    "train",
    "evaluate",
    "compare",
    "report",
    "grid",
    "tune",
    "export",
    "label",
    "doctor",
    "run",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_reads_well(command):
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_help_does_not_import_tensorflow():
    code = (
        "import sys; from typer.testing import CliRunner;"
        "from keras_sllmr.cli.main import app;"
        "CliRunner().invoke(app, ['run', '--help']);"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_import_and_stats(run_sllmr, tmp_path, source):
    code, out, _ = run_sllmr("import", source, "--store", tmp_path / "s", "--json")
    assert code == 0
    assert json.loads(out)["user_history"] == 80
    code, out, _ = run_sllmr("stats", tmp_path / "s", "--json")
    counts = json.loads(out)
    assert list(counts) == [
        "users",
        "items",
        "interactions",
        "train_rows",
        "cold_rows",
        "tail_items",
    ]
    assert counts["users"] == 80
    assert counts["train_rows"] == 2 * (counts["interactions"] - 3 * 80)


def test_import_with_columns(run_sllmr, tmp_path, source):
    ids = [f"u{user:03d}" for user in range(80)]
    people = pd.DataFrame({"who": ids, "age": range(80), "plan": ["a", "b"] * 40})
    people.to_csv(tmp_path / "people.csv", index=False)
    code, out, _ = run_sllmr(
        *("import", source, "--store", tmp_path / "s", "--json"),
        *("--users", tmp_path / "people.csv", "--user-key", "who"),
        *("--user-column", "age:numeric", "--user-column", "plan:categorical"),
        *("--min-count", 2),
    )
    assert code == 0
    assert json.loads(out)["plan_vocabulary"] == 2
    code, out, _ = run_sllmr("stats", tmp_path / "s", "--json")
    columns = json.loads(out)["columns"]
    assert columns["age"] == {
        "entity": "user",
        "kind": "numeric",
        "unknown": 0,
        "mean": 39.5,
        "std": pytest.approx(((80**2 - 1) / 12) ** 0.5),
    }
    code, out, _ = run_sllmr("stats", tmp_path / "s")
    assert code == 0 and "columns.plan.categories" in out


@pytest.mark.parametrize(
    "given", [["age"], ["age:"], ["age:numeric", "age:multi"], [":numeric"]]
)
def test_columns_that_are_not_name_and_kind(run_sllmr, source, tmp_path, given):
    options = [part for column in given for part in ("--user-column", column)]
    code, out, err = run_sllmr("import", source, "--store", tmp_path / "s", *options)
    assert (code, out) == (2, "") and "must be" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["stats", "nowhere"], 4, "No store at nowhere"),
        (["import", "nowhere", "--store", "s"], 3, "nowhere"),
        (["import", "--store", "s"], 2, "needs a path"),
        (["import", "a", "b", "--store", "s", "--format", "movielens"], 2, "second"),
        (["run", "nowhere.yaml"], 2, "No such configuration"),
        (["train", "magic", "s", "--to", "m"], 2, "magic"),
    ],
)
def test_errors_are_one_line_and_a_code(run_sllmr, arguments, code, said):
    found, out, err = run_sllmr(*arguments)
    assert found == code
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_wrong_column_names_those_there_are(run_sllmr, tmp_path, source):
    store = tmp_path / "s"
    code, _, err = run_sllmr("import", source, "--store", store, "--user", "who")
    assert code == 3
    assert "who" in err
    assert "user_id" in err
    assert not store.exists()


def test_doctor(run_sllmr):
    code, out, _ = run_sllmr("doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["keras mode"].startswith("Keras 2")
    assert report["problems"] == []


def test_train_evaluate_export(run_sllmr, tmp_path, store):
    opened = FeatureStore(store)
    vectors = np.random.default_rng(0).normal(size=(opened.n_items + 1, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    TextVectors.create(tmp_path / "text", opened, vectors, encoder="random")
    scored = run_sllmr(
        "score", store, "--text", tmp_path / "text", "--to", tmp_path / "sc", "--json"
    )
    assert scored[0] == 0
    assert json.loads(scored[1])["agreement"]["all"]["pairs"] > 0

    for method in ("none", "sllmr"):
        code, out, _ = run_sllmr(
            *("train", method, store, "--to", tmp_path / method, "--json"),
            *("--scores", tmp_path / "sc", "--epochs", 1),
        )
        assert code == 0
        assert json.loads(out)["best_epoch"] == 1
    code, out, _ = run_sllmr(
        *("evaluate", store, tmp_path / "none", tmp_path / "sllmr", "--json"),
        *("--to", tmp_path / "eval"),
    )
    comparison = json.loads(out)
    assert code == 0
    assert comparison == json.loads((tmp_path / "eval" / "comparison.json").read_text())
    (group,) = comparison["groups"]
    assert (group["domain"], group["backbone"]) == (store.name, "deepfm")
    assert set(group["methods"]) == {"none", "sllmr"}
    assert {d["baseline"] for d in group["differences"]} == {"none"}
    code, out, _ = run_sllmr(
        *("compare", tmp_path / "eval", "--replicates", 1000, "--json"),
        *("--to", tmp_path / "compared"),
    )
    assert code == 0
    assert json.loads(out)["groups"] == comparison["groups"]
    files = {path.suffix for path in (tmp_path / "compared").iterdir()}
    assert files == {".json", ".csv", ".md", ".tex", ".html"}
    page = tmp_path / "compared" / "comparison.html"
    written = page.read_bytes()
    page.unlink()
    assert run_sllmr("report", tmp_path / "compared")[0] == 0
    assert page.read_bytes() == written
    paper = tmp_path / "paper.csv"
    head = "domain,backbone,method,metric,slice,value\n"
    one = (tmp_path / "eval" / "sllmr.npz", "--replicates", 5, "--published", paper)
    paper.write_text(f"{head}{store.name},deepfm,sllmr,auc_sampled,all,0.7531\n")
    code, out, _ = run_sllmr("compare", *one)
    assert code == 0
    assert "S-LLMR" in out and "(0.7531)" in out
    paper.write_text(head + "other,deepfm,sllmr,auc_sampled,all,0.7531\n")
    assert run_sllmr("compare", *one)[0] == 2

    export = ("export", store, tmp_path / "sllmr", "--name", "m", "--to", tmp_path)
    code, out, _ = run_sllmr(
        *(*export, "--metrics", tmp_path / "eval" / "comparison.json"),
        *("--label", "canary", "--base-path", "/srv/m", "--json"),
    )
    assert code == 0
    first = tmp_path / "m" / "1"
    exported = json.loads(out)
    assert exported["max_abs_diff"] < 1e-5
    assert {"serving_default", "rank", "regress"} < set(exported["signatures"])
    card = (first / "assets.extra" / "MODEL_CARD.md").read_text()
    assert "| auc_sampled | all | " in card
    assert 'base_path: "/srv/m"' in (tmp_path / "m" / "models.config").read_text()
    code, _, err = run_sllmr(*export, "--version", 1)
    assert code == 4
    assert "1" in err

    checked = (tmp_path / "none", "--check", first)
    code, _, err = run_sllmr("export", store, *checked)
    assert code == 4
    assert "must be within" in err
    code, out, _ = run_sllmr("label", first, "stable", "--json")
    assert code == 0
    assert json.loads(out) == {"labels": {"canary": 1, "stable": 1}}


def test_an_export_needs_a_name_or_a_check(run_sllmr, tmp_path):
    code, _, err = run_sllmr("export", tmp_path, tmp_path)
    assert (code, "Received: neither" in err) == (2, True)
    both = ("--name", "m", "--check", tmp_path)
    code, _, err = run_sllmr("export", tmp_path, tmp_path, *both)
    assert (code, "Received: both" in err) == (2, True)


def test_metrics_of_another_method_are_refused(tmp_path):
    trained = SimpleNamespace(
        manifest={
            "settings": {"method": "sllmr", "train": {"backbone": {"name": "din"}}}
        }
    )
    path = tmp_path / "metrics.json"
    for found in ([], {}, {"groups": [{"backbone": "dcn", "methods": {"sllmr": {}}}]}):
        path.write_text(json.dumps(found))
        with pytest.raises(ConfigError, match="method 'sllmr' on 'din'"):
            metrics_for(trained, path)


def test_a_report_of_what_is_none(run_sllmr, tmp_path):
    code, _, err = run_sllmr("report", tmp_path)
    assert code == 4
    assert "metrics.json" in err
    (tmp_path / "metrics.json").write_text("{}")
    code, _, err = run_sllmr("report", tmp_path / "metrics.json")
    assert code == 4
    assert "neither" in err


def test_sllmr_without_scores_is_refused(run_sllmr, tmp_path, store):
    code, _, err = run_sllmr("train", "sllmr", store, "--to", tmp_path / "m")
    assert code == 4
    assert "score table" in err
