import json

import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.training.strategies import require_cluster, serve, strategy_named

CLUSTER = {"worker": ["a:1", "b:2"]}


def test_none_and_unknown_names() -> None:
    assert strategy_named("none") is None
    assert not serve("none") and not serve("multi_worker")
    with pytest.raises(ConfigError, match="one of none, mirrored, .*'tpu'"):
        strategy_named("tpu")


def test_this_process_in_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"type": "worker", "index": 1}
    config = json.dumps({"cluster": CLUSTER, "task": task})
    monkeypatch.setenv("TF_CONFIG", config)
    assert require_cluster("multi_worker") == ("worker", 1)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "{",
        "[]",
        json.dumps({"cluster": CLUSTER}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "worker", "index": -1}}),
        json.dumps({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}),
        json.dumps({"cluster": {"ps": ["a:1"]}, "task": {"type": "ps", "index": 0}}),
    ],
)
def test_a_config_that_names_no_worker(
    monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(ConfigError, match="'multi_worker' needs TF_CONFIG .*Received"):
        require_cluster("multi_worker")
    with pytest.raises(ConfigError, match="needs TF_CONFIG"):
        strategy_named("multi_worker")
