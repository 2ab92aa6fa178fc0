import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "local_endpoint.py"
NO_SCREEN = {"near": 0, "tail_near": 0, "uniform": 4, "cold": 1, "popular_pool": 20}


@pytest.fixture(scope="module")
def base_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endpoint")
    port = folder / "port"
    command = [sys.executable, str(SCRIPT), "--port-file", str(port)]
    server = subprocess.Popen(command)
    while not port.exists():
        time.sleep(0.02)
    yield f"http://127.0.0.1:{port.read_text()}/v1"
    server.kill()
    server.wait()


@pytest.fixture
def config(tmp_path):
    """A run's file with the settings of the score stage alone."""

    def write(**score):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"name": "x", "score": score}))
        return path

    return write


def test_llm_scores_within_a_cap_and_goes_on(
    run_sllmr, store, base_url, tmp_path, config
):
    settings = config(
        teacher="llm",
        candidates=NO_SCREEN,
        llm={"model": "local", "base_url": base_url, "permutations": 2},
    )
    table = tmp_path / "llm"
    score = ("score", store, "--config", settings, "--to", table, "--json")
    code, out, err = run_sllmr(*score, "--max-requests", 30)
    assert code == 0, err
    first = json.loads(out)
    assert first["failures"]["stopped_by"] == "max_requests"
    assert first["cost"]["ledger"]["requests"] == 30
    assert first["missing"] > 0

    code, out, err = run_sllmr(*score)
    assert code == 0, err
    whole = json.loads(out)
    assert whole["missing"] == 0
    assert whole["failures"]["stopped_by"] is None
    # Nothing is asked twice, though two orders of a short list may be the same one.
    ledger = sqlite3.connect(f"{table}.ledger.sqlite")
    sent, different = ledger.execute(
        "SELECT count(*), count(DISTINCT key) FROM sent"
    ).fetchone()
    ledger.close()
    assert sent == different == whole["cost"]["ledger"]["requests"]
    assert sent <= whole["cost"]["requests"] <= sent + 5

    code, out, err = run_sllmr(*score)
    assert json.loads(out)["cost"]["ledger"] == whole["cost"]["ledger"]

    code, out, err = run_sllmr("score", "inspect", store, table)
    assert code == 0, err
    assert "requests" in out
    # Nobody said what this endpoint costs.
    assert "unknown" in out and whole["cost"]["usd"] is None


def test_batches_give_the_same_table(run_sllmr, store, base_url, tmp_path, config):
    settings = config(
        teacher="llm",
        candidates=NO_SCREEN,
        llm={"model": "local", "base_url": base_url, "batch": {"poll_seconds": 0}},
    )
    shards = {}
    for name, options in (("single", ()), ("batch", ("--batch",))):
        to = tmp_path / name
        code, _, err = run_sllmr(
            "score", store, "--config", settings, "--to", to, *options
        )
        assert code == 0, err
        shards[name] = [
            shard.read_bytes() for shard in sorted((to / "views/llm_score").iterdir())
        ]
    assert shards["single"] == shards["batch"]


def test_dry_run_sends_nothing(run_sllmr, store, tmp_path, config):
    # No endpoint is there to be asked.
    settings = config(
        teacher="llm",
        candidates=NO_SCREEN,
        llm={"model": "gpt-4o-mini", "base_url": "http://127.0.0.1:9/v1"},
    )
    code, out, err = run_sllmr(
        "score", store, "--config", settings, "--dry-run", "--json"
    )
    assert code == 0, err
    found = json.loads(out)
    assert found["requests"] == found["users"] + 80  # everybody has a probe
    assert 0 < found["usd"] < found["usd_at_most"]
    assert "likelihood" in found["sample_prompt"][1]["content"]
    assert not list(tmp_path.glob("*.sqlite*"))


def test_embeddings_of_an_endpoint(run_sllmr, store, base_url, tmp_path):
    text = tmp_path / "text"
    encode = ("encode", store, "--to", text, "--encoder", "openai", "--json")
    code, _, err = run_sllmr(*encode, "--model", "local", "--base-url", base_url)
    assert code == 0, err
    code, out, err = run_sllmr(
        *("score", store, "--text", text, "--to", tmp_path / "sc", "--json"),
        *("--teacher", "encoder"),
    )
    assert code == 0, err
    assert json.loads(out)["pairs"] > 0


def test_mix(run_sllmr, store, tmp_path, config):
    for name, seed in (("a", 0), ("b", 0)):
        settings = config(teacher="tfidf", candidates=NO_SCREEN)
        to = tmp_path / name
        score = ("score", store, "--config", settings, "--to", to, "--seed", seed)
        assert run_sllmr(*score)[0] == 0
    code, out, err = run_sllmr(
        *("score", "mix", store, tmp_path / "a", tmp_path / "b", "--json"),
        *("--weight", 2, "--weight", 1, "--to", tmp_path / "both"),
    )
    assert code == 0, err
    assert json.loads(out)["pairs"] > 0


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--teacher", "llm"), "model"),
        (("--teacher", "llm", "--model", "x", "--max-usd", 1), "price"),
        (("--teacher", "oracle"), "teacher"),
        (("--teacher", "embedded"), "text vectors"),
        (("--dry-run", "--teacher", "tfidf"), "costs money"),
    ],
)
def test_wrong_settings_are_told(
    run_sllmr, store, tmp_path, options, rule, monkeypatch
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-a-test-0123456789")
    code, _, err = run_sllmr("score", store, "--to", tmp_path / "t", *options)
    assert code == 2
    assert rule in err
    assert "0123456789" not in err


def test_an_endpoint_that_is_not_there(run_sllmr, store, tmp_path, config):
    settings = config(
        teacher="llm",
        candidates=NO_SCREEN,
        llm={
            "model": "local",
            "base_url": "http://127.0.0.1:9/v1",
            "transport": {
                "backoff": 0.01,
                "breaker_failures": 3,
                "breaker_seconds": 0.05,
                "down_after": 0.2,
            },
        },
    )
    code, _, err = run_sllmr(
        "score", store, "--config", settings, "--to", tmp_path / "t"
    )
    assert code == 6
    assert "down" in err
    assert not (tmp_path / "t").exists()
