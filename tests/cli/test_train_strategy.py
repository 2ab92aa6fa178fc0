import json
import os
import socket
import subprocess
import sys

import pytest


def test_a_strategy_without_its_cluster(tmp_path, store, run_sllmr, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in ("multi_worker", "parameter_server"):
        code, _, errors = run_sllmr(
            "train", "none", store, "--to", tmp_path / "model", "--strategy", name
        )
        assert code == 2 and f"{name!r} needs TF_CONFIG" in errors
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_strategy(tmp_path, store, run_sllmr):
    code, _, errors = run_sllmr(
        "train", "none", store, "--to", tmp_path / "model", "--strategy", "tpu"
    )
    assert code == 2 and "tpu" in errors


def _worker(index, addresses, command):
    task = {"type": "worker", "index": index}
    cluster = {"cluster": {"worker": addresses}, "task": task}
    return subprocess.Popen(
        [sys.executable, "-m", "keras_sllmr.cli.main", *map(str, command)],
        env={**os.environ, "TF_CONFIG": json.dumps(cluster)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_two_workers(tmp_path, store):
    """The same command on both; the chief's model is there when both have ended."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("localhost", 0))
        addresses = [f"localhost:{each.getsockname()[1]}" for each in (one, other)]
    model = tmp_path / "model"
    command = ["train", "none", store, "--to", model, "--epochs", 1, "--json"]
    command += ["--strategy", "multi_worker", "--timeout", 120, "--backup-every", 2]
    workers = [_worker(index, addresses, command) for index in (0, 1)]
    try:
        for worker in workers:
            out, errors = worker.communicate(timeout=240)
            assert worker.returncode == 0, errors[-3000:]
            assert json.loads(out)["best_epoch"] == 1
    finally:
        for worker in workers:
            worker.kill()
    history = json.loads((model / "manifest.json").read_text())["history"]
    assert history["distribution"]["workers"] == 2
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["model"]
