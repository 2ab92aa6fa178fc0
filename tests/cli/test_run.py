import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser

import pytest

from keras_sllmr.cli.config import ImportConfig, load_config
from keras_sllmr.cli.run import run
from keras_sllmr.cli.stages import source_hashes
from keras_sllmr.errors import ConfigError, EnvironmentProblem, StoreError
from keras_sllmr.io.lock import exclusive

pytestmark = pytest.mark.usefixtures("needs_the_encoder")


def stages_of(metrics):
    return {stage["name"]: stage["skipped"] for stage in metrics["stages"]}


def test_whole_run_then_nothing_to_do_then_one_change(tmp_path, small_run):
    folder = tmp_path / "runs" / "small"
    metrics = run(load_config(small_run), folder)
    assert not any(stages_of(metrics).values())
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    page = (folder / "report.html").read_text()
    HTMLParser().feed(page)
    assert "S-LLMR" in page
    assert (tmp_path / "saved_models" / "small" / "1" / "saved_model.pb").exists()
    assert metrics["methods"].keys() == {"none", "sllmr"}
    for method in metrics["methods"].values():
        assert set(method["auc_sampled"]) == {"all", "cold", "tail", "tail_rows"}
    alpha = [epoch["alpha"] for epoch in metrics["training"]["sllmr"]["epochs"]]
    assert all(0 < value < 1 for value in alpha)

    again = run(load_config(small_run), folder)
    assert all(stages_of(again).values())
    assert again["methods"] == metrics["methods"]

    selective = "  selective: {weight: 0.2}\n  batch:"
    small_run.write_text(small_run.read_text().replace("  batch:", selective))
    changed = stages_of(run(load_config(small_run), folder))
    assert [name for name, skipped in changed.items() if not skipped] == [
        "train sllmr",
        "evaluate sllmr",
        "export",
    ]


def test_goes_on_after_a_kill(tmp_path, small_run):
    text = small_run.read_text().replace("epochs: 2", "epochs: 30\n  patience: 30")
    small_run.write_text(text)
    command = [sys.executable, "-m", "keras_sllmr.cli.main", "run", str(small_run)]
    command += ["--runs", str(tmp_path / "runs")]
    folder = tmp_path / "runs" / "small"
    progress = folder / "models" / "none.checkpoint" / "progress.json"
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not progress.exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(json.loads(progress.read_text())["epochs"])
    assert 1 <= done < 30

    small_run.write_text(text.replace("epochs: 30", f"epochs: {done + 2}"))
    metrics = run(load_config(small_run), folder)
    stages = stages_of(metrics)
    assert stages["import"] and stages["encode"] and stages["score"]
    assert len(metrics["training"]["none"]["epochs"]) == done + 2
    assert not progress.parent.exists()


def test_two_runs_of_one_folder(tmp_path, small_run):
    with exclusive(tmp_path / "small"), pytest.raises(StoreError, match="Another"):
        run(load_config(small_run), tmp_path / "small")


def test_an_export_of_no_trained_method_is_refused_first(tmp_path, small_run):
    small_run.write_text(small_run.read_text() + "methods: [none]\n")
    with pytest.raises(ConfigError, match="`export.method` must be among"):
        run(load_config(small_run), tmp_path / "small")


def test_sources_are_hashed_by_content(tmp_path, source):
    config = ImportConfig(path=source)
    names = [name for name, _ in source_hashes(config)]
    assert names == ["interactions.parquet", "items.parquet"]
    options = {"items": str(source / "items.parquet")}
    apart = ImportConfig(path=source / "interactions.parquet", options=options)
    assert source_hashes(apart) == source_hashes(config)
    with pytest.raises(ConfigError, match="No such file"):
        source_hashes(ImportConfig(path=tmp_path / "nowhere"))


def test_missing_embedded_data_say_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="recbole"):
        source_hashes(ImportConfig(format="movielens"))
