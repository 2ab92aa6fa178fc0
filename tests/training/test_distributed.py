"""Training on several replicas and processes against one process."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keras_sllmr.training.callbacks.sampled_auc import SampledAUC
from keras_sllmr.training.feature_tables import FeatureTables
from keras_sllmr.training.offline_inputs import OfflineInputs
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import train
from keras_sllmr.training.trained_model import TrainedModel

# Graphs of tf.data stay graphs, and are meant to.
pytestmark = pytest.mark.filterwarnings("ignore:Even though the `tf.config")

_PROGRAM = Path(__file__).with_name("training_process.py")
_SECONDS = 240
_LOSSES = ("loss", "base_loss", "pair_loss", "gate_loss", "pairs")
_VALIDATION = ("val_auc_sampled", "val_log_likelihood")

# Replicas drop different units.
SIZES = {"embedding_dim": 4, "dnn_hidden_units": [6], "dnn_dropout": 0.0}
SETTINGS: dict[str, Any] = {
    "backbone": {"history_length": 4, "hyperparameters": SIZES},
    "batch": {"rows": 80, "guidance_users": 4, "probe_users": 8},
    "learning_rate": 0.01,
    "epochs": 2,
}
SMALL = {
    **SETTINGS,
    "kar": {"units": (5, 3), "dropout": 0.0},
    "llm_cf": {"width": 8, "blocks": 1, "hidden": 8},
    "epochs": 1,
}
PAIRWISE = {
    **SETTINGS,
    "epochs": 1,
    "selective": {
        "regularizer": "pairwise",
        "max_pairs": 9,
        "labelled_pairs": True,
        "uncertainty": "confidence",
    },
}
DIN = {
    "name": "din",
    "history_length": 4,
    "hyperparameters": {**SIZES, "att_hidden_size": [4], "att_activation": "sigmoid"},
}


@pytest.fixture
def given(world: Any, offline: OfflineInputs) -> dict[str, Any]:
    tables = {name: str(table.path) for name, table in offline.tables.items()}
    return {"store": str(world.split.store.path), "tables": tables, "timeout": 120.0}


@contextlib.contextmanager
def _processes(tasks: list[dict[str, Any]], cluster: Any) -> Iterator[list[Any]]:
    """A process a task; all are gone when the block ends."""
    running = []
    try:
        for task in tasks:
            config = {"cluster": cluster, "task": task.pop("task", None)}
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
            if cluster:
                environment["TF_CONFIG"] = json.dumps(config)
            running.append(
                subprocess.Popen(
                    [sys.executable, str(_PROGRAM), json.dumps(task)],
                    env=environment,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield running
    finally:
        for process in running:
            process.kill()  # TensorFlow catches what terminates more gently
            process.communicate()


def _addresses(count: int) -> list[str]:
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in open_ones:
            one.bind(("localhost", 0))
        return [f"localhost:{one.getsockname()[1]}" for one in open_ones]


def _workers(given: dict[str, Any], *others: dict[str, Any]) -> Any:
    """Two workers; `others` are what each has of its own."""
    tasks = [
        {
            **given,
            "strategy": "multi_worker",
            **own,
            "task": {"type": "worker", "index": k},
        }
        for k, own in enumerate(others or ({}, {}))
    ]
    return _processes(tasks, {"worker": _addresses(2)})


def _finished(process: Any) -> None:
    _, errors = process.communicate(timeout=_SECONDS)
    assert process.returncode == 0, errors[-3000:]


def _one_process(
    method: Any, settings: Any, path: Path, world: Any, offline: OfflineInputs
) -> TrainedModel:
    how = TrainSettings.model_validate(settings)
    return train(method, world.split, path, settings=how, **offline.tables)


def _assert_same(several: TrainedModel, one: TrainedModel) -> None:
    for found, expected in zip(
        several.history["epochs"], one.history["epochs"], strict=True
    ):
        for name in (*_LOSSES, *_VALIDATION):
            assert found[name] == pytest.approx(expected[name], rel=1e-5), name
    assert several.history["best_epoch"] == one.history["best_epoch"]
    for a, b in zip(several.model.get_weights(), one.model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_two_replicas_train_as_one_process(
    tmp_path: Path, given: dict[str, Any], world: Any, offline: OfflineInputs
) -> None:
    """The paper's terms and choices: pairs of two blocks, a budget, a gate that learns."""
    path = tmp_path / "two"
    models = [("sllmr", str(path), PAIRWISE)]
    task = {**given, "strategy": "mirrored", "models": models}
    with _processes([task], None) as (process,):
        one = _one_process("sllmr", PAIRWISE, tmp_path / "one", world, offline)
        _finished(process)
    two = TrainedModel(path)
    _assert_same(two, one)
    assert one.history["epochs"][0]["gate_loss"] > 0
    assert two.history["distribution"] == {
        "strategy": "MirroredStrategy",
        "workers": 1,
        "replicas": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("kd", SMALL),
        ("kar", SMALL),
        ("llm_cf", SMALL),
        # DIN with an activation that keeps no statistics of a replica's rows.
        ("sllmr", {**PAIRWISE, "backbone": DIN}),
    ],
)
def test_every_method_on_two_replicas(
    tmp_path: Path,
    given: dict[str, Any],
    world: Any,
    offline: OfflineInputs,
    method: str,
    settings: dict[str, Any],
) -> None:
    given["models"] = [(method, str(tmp_path / "two"), settings)]
    with _processes([{**given, "strategy": "mirrored"}], None) as (process,):
        one = _one_process(method, settings, tmp_path / "one", world, offline)
        _finished(process)
    _assert_same(TrainedModel(tmp_path / "two"), one)


@pytest.mark.parametrize(
    "settings", [PAIRWISE, pytest.param(SETTINGS, marks=pytest.mark.slow)]
)
def test_two_workers_train_as_one_process(
    tmp_path: Path,
    given: dict[str, Any],
    world: Any,
    offline: OfflineInputs,
    settings: dict[str, Any],
) -> None:
    """With a reference and a gate, too; the chief alone leaves something behind."""
    folder = tmp_path / "models"
    given["models"] = [("sllmr", str(folder / "two"), settings)]
    with _workers(given) as processes:
        one = _one_process("sllmr", settings, tmp_path / "one", world, offline)
        for process in processes:
            _finished(process)
    two = TrainedModel(folder / "two")
    _assert_same(two, one)
    assert two.history["distribution"]["workers"] == 2
    references = [model.history.get("reference", []) for model in (two, one)]
    for found, expected in zip(*references, strict=True):
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert [path.name for path in folder.glob("[!.]*")] == ["two"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed_at", "kept"),
    [
        ({"kill_at": 1}, "epoch-1"),
        # Before it takes part in the backup after this step: the last one holds.
        ({"kill_at": 1, "kill_step": 1, "backup_every": 1}, "epoch-1-step-1"),
    ],
)
def test_goes_on_after_a_worker_was_killed(
    tmp_path: Path,
    given: dict[str, Any],
    world: Any,
    offline: OfflineInputs,
    killed_at: dict[str, int],
    kept: str,
) -> None:
    path = tmp_path / "two"
    given["models"] = [("none", str(path), SETTINGS)]
    given["backup_every"] = killed_at.get("backup_every")
    with _workers(given, {}, killed_at) as (chief, killed):
        one = _one_process("none", SETTINGS, tmp_path / "one", world, offline)
        _, errors = chief.communicate(timeout=_SECONDS)
        assert chief.returncode == 1 and "EndpointError: Another process" in errors, (
            errors[-3000:]
        )
        assert killed.wait(timeout=_SECONDS) == -9
    assert not path.exists()
    assert (tmp_path / "two.checkpoint" / f"{kept}.index").exists()
    # Both would be killed again if they did the first epoch again.
    with _workers(given, {"kill_at": 0}, {"kill_at": 0}) as processes:
        for process in processes:
            _finished(process)
    _assert_same(TrainedModel(path), one)


@pytest.mark.slow
def test_workers_with_other_settings_are_refused(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    other = {**SETTINGS, "learning_rate": 0.02}
    path = str(tmp_path / "two")
    with _workers(
        given,
        {"models": [("none", path, SETTINGS)]},
        {"models": [("none", path, other)]},
    ) as processes:
        errors = [process.communicate(timeout=_SECONDS)[1] for process in processes]
    assert any("All workers must have the same inputs, settings" in e for e in errors)
    assert all(process.returncode == 1 for process in processes)
    assert not (tmp_path / "two").exists()


_SERVICE = """
from keras_sllmr.compat import tf
api = tf.data.experimental.service
dispatcher = api.DispatchServer(api.DispatcherConfig(port=0, protocol="grpc"))
address = dispatcher.target.split("://")[1]
worker = api.WorkerServer(
    api.WorkerConfig(dispatcher_address=address, port=0, protocol="grpc")
)
print(dispatcher.target, flush=True)
worker.join()
"""


@pytest.mark.slow
def test_input_from_the_service_of_another_process(
    tmp_path: Path, world: Any, offline: OfflineInputs
) -> None:
    service = subprocess.Popen(
        [sys.executable, "-c", _SERVICE], stdout=subprocess.PIPE, text=True
    )
    try:
        assert service.stdout is not None
        served = train(
            "sllmr",
            world.split,
            tmp_path / "served",
            settings=TrainSettings.model_validate(PAIRWISE),
            **offline.tables,
            data_service=service.stdout.readline().strip(),
        )
    finally:
        service.kill()
        service.communicate()
    one = _one_process("sllmr", PAIRWISE, tmp_path / "one", world, offline)
    _assert_same(served, one)
    assert {path.name for path in tmp_path.glob("[!.]*")} == {"served", "one"}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "servers"), [("none", 1), ("sllmr", 2)])
def test_parameter_servers(
    tmp_path: Path, given: dict[str, Any], world: Any, method: str, servers: int
) -> None:
    """Asynchronous: it learns, and what it writes is a model as any other.

    Two servers share the tables.
    """
    given["models"] = [(method, str(tmp_path / "model"), {**SETTINGS, "epochs": 3})]
    addresses = _addresses(3 + servers)
    cluster = {"chief": addresses[:1], "worker": addresses[1:3], "ps": addresses[3:]}
    tasks = [
        {
            **given,
            "strategy": "parameter_server",
            "part_mb": 1e-4,
            "task": {"type": job, "index": k},
        }
        for job, those in cluster.items()
        for k in range(len(those))
    ]
    with _processes(tasks, cluster) as (chief, *_):
        _finished(chief)
    trained = TrainedModel(tmp_path / "model")
    first, *_, last = trained.history["epochs"]
    assert last["loss"] < first["loss"]
    distribution = trained.history["distribution"]
    assert distribution["strategy"] == "ParameterServerStrategyV2"
    assert ("tables_in_parts" in distribution) == (servers > 1)
    assert [path.name for path in tmp_path.glob("[!.]*")] == ["model"]
    # The parts of the tables are put together in their order.
    best = trained.history["epochs"][trained.history["best_epoch"] - 1]
    logs: dict[str, float] = {}
    auc = SampledAUC.of(world.split, FeatureTables(world.split, trained.spec))
    auc.set_model(trained.model)
    auc.on_epoch_end(0, logs)
    for name in _VALIDATION:
        assert logs[name] == pytest.approx(best[name], rel=1e-6)
