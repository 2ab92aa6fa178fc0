from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.io.atomic import read_json
from keras_sllmr.layers.gate import Gate
from keras_sllmr.training.callbacks.gate_monitor import GateMonitor


def _model(weigh: Any, gate: Gate | None = None) -> Any:
    """A gate, and a function of a block to α and gaps in place of a model."""

    def believe(block: Any) -> Any:
        return block["chance"], block["gaps"]

    if gate is None:
        gate = Gate(("cold", "tail"))
        gate.build((None, 2))
        gate.set_weights([np.array([0.5, -1.0], np.float32), np.float32(2.0)])
    return SimpleNamespace(gate=gate, pair_weights=weigh, pair_beliefs=believe)


def _signals(cold: Any, tail: Any) -> dict[str, Any]:
    return {"signals": {"cold": tf.constant(cold), "tail": tf.constant(tail)}}


def _logs(monitor: GateMonitor, model: Any, *, epochs: int = 1) -> dict[str, float]:
    monitor.set_model(model)
    logs: dict[str, float] = {"loss": 0.25}
    for epoch in range(epochs):
        monitor.on_epoch_end(epoch, logs)
    assert logs.pop("loss") == 0.25
    return logs


# Mean α


def test_mean_alpha_by_slice() -> None:
    gaps = np.zeros((2, 3, 3), np.float32)
    # A cold user's pairs (0, 1) and (0, 2), a warm user's (1, 2); 1 is a tail item.
    gaps[0, 0, 1] = gaps[0, 0, 2] = gaps[1, 1, 2] = 0.5
    alpha = np.full((2, 3, 3), 9.0, np.float32)
    alpha[0, 0, 1], alpha[0, 0, 2], alpha[1, 1, 2] = 0.125, 0.25, 0.75
    cold = np.array([[1.0] * 3, [0.0] * 3], np.float32)
    tail = np.array([[0.0, 1.0, 0.0]] * 2, np.float32)
    logs = _logs(
        GateMonitor(_signals(cold, tail)),
        _model(lambda block: (tf.constant(alpha), tf.constant(gaps))),
    )
    assert logs == pytest.approx(
        {
            "alpha_pairs": 3,
            "alpha": 0.375,
            "alpha_cold": 0.1875,
            "alpha_warm": 0.75,
            "alpha_tail": 0.4375,
            "alpha_head": 0.25,
            "gate_cold": 0.5,
            "gate_tail": -1.0,
            "gate_bias": 2.0,
        }
    )


def test_a_slice_without_pairs_is_left_out() -> None:
    gaps = np.zeros((1, 2, 2), np.float32)
    gaps[0, 0, 1] = 0.5
    ones, zeros = np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)
    block = _signals(ones, zeros)
    logs = _logs(
        GateMonitor(block),
        _model(lambda block: (tf.ones([1, 2, 2]), tf.constant(gaps))),
    )
    assert {"alpha", "alpha_cold", "alpha_head"} <= set(logs)
    assert not {"alpha_warm", "alpha_tail"} & set(logs)
    nothing = _logs(
        GateMonitor(block),
        _model(lambda block: (tf.ones([1, 2, 2]), tf.constant(0 * gaps))),
    )
    assert nothing["alpha_pairs"] == 0 and "alpha" not in nothing


def test_weights_of_pair_signals() -> None:
    gate = Gate(("cold",), pair_signals=("margin", "score_gap"))
    gate.build((None, 1))
    gate.set_weights([np.float32([0.5]), np.float32(2), np.float32([-1, 0.25])])
    block = _signals(np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32))
    logs = _logs(
        GateMonitor(block), _model(lambda block: (tf.ones([1, 2, 2]),) * 2, gate)
    )
    weights = {name: logs[name] for name in logs if name.startswith("gate_")}
    assert weights == {
        "gate_cold": 0.5,
        "gate_bias": 2.0,
        "gate_margin": -1.0,
        "gate_score_gap": 0.25,
    }


def test_weights_of_a_prior() -> None:
    gate = Gate(("cold", "tail"), prior=True)
    gate.build((None, 2))
    weights = [[0.5, -1.0], 2.0, [0.25, -0.25], 1.5]
    gate.set_weights([np.array(weight, np.float32) for weight in weights])
    block = _signals(np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32))
    logs = _logs(
        GateMonitor(block), _model(lambda block: (tf.ones([1, 2, 2]),) * 2, gate)
    )
    of_prior = {name: logs[name] for name in logs if name.startswith("gate_prior")}
    assert of_prior == {
        "gate_prior_cold": 0.25,
        "gate_prior_tail": -0.25,
        "gate_prior_bias": 1.5,
    }
    assert logs["gate_bias"] == 2


# Calibration on probes

BLOCK = _signals(np.ones((1, 2), np.float32), np.zeros((1, 2), np.float32)) | {
    "alpha": tf.ones([1, 2, 2]),
    "gaps": tf.ones([1, 2, 2]),
}


def _probes() -> dict[str, Any]:
    """A positive, a negative and an unknown item of three users; 0 > 1 > 2 is said."""
    chance = np.full((3, 3, 3), 0.99, np.float32)
    gaps = np.zeros((3, 3, 3), np.float32)
    gaps[:, 0, 1] = gaps[:, 0, 2] = gaps[:, 1, 2] = 0.5
    chance[:, 0, 1] = [0.9, 0.75, 0.5]
    labels = np.array([[1, 0, -1], [0, 1, -1], [1, 0, -1]])
    return {
        "label": tf.constant(labels),
        "chance": tf.constant(chance),
        "gaps": tf.constant(gaps),
    }


def _given(block: dict[str, Any]) -> Any:
    return block["alpha"], block["gaps"]


@pytest.mark.parametrize("users_at_once", [1, 2, 32])
def test_calibration_on_probes(users_at_once: int) -> None:
    monitor = GateMonitor(BLOCK, probes=_probes(), users_at_once=users_at_once)
    logs = _logs(monitor, _model(_given))
    # Chances of .9 and .5, which are right, and .75, which is wrong.
    assert logs["gate_auc"] == pytest.approx(0.5)
    assert logs["gate_brier"] == pytest.approx((0.01 + 0.25 + 0.5625) / 3, rel=1e-6)
    assert logs["gate_ece"] == pytest.approx((0.1 + 0.5 + 0.75) / 3, rel=1e-6)
    table = monitor.calibration["bins"]
    assert [row["chance"] for row in table] == pytest.approx([0.5, 0.75, 0.9])
    assert [row["accuracy"] for row in table] == [1, 0, 1]
    assert logs["alpha_pairs"] == 4


def test_probes_without_a_known_pair() -> None:
    probes = {**_probes(), "label": tf.fill([3, 3], -1)}
    monitor = GateMonitor(BLOCK, probes=probes)
    logs = _logs(monitor, _model(_given))
    assert not {"gate_auc", "gate_ece", "gate_brier"} & set(logs)
    assert monitor.calibration == {"pairs": 0, "bins": []}


def test_no_probes_no_calibration() -> None:
    logs = _logs(GateMonitor(BLOCK), _model(_given))
    assert "gate_brier" not in logs


def test_a_gate_that_diverged_is_not_a_number(tmp_path: Path) -> None:
    probes = _probes()
    probes["chance"] = probes["chance"] * np.nan
    monitor = GateMonitor(BLOCK, probes=probes, table=tmp_path / "gate.json")
    assert np.isnan(_logs(monitor, _model(_given))["gate_brier"])
    assert not (tmp_path / "gate.json").exists()


# Files


def test_the_tables_file_goes_on_with_the_run(tmp_path: Path) -> None:
    path, model = tmp_path / "gate.json", _model(_given)
    _logs(GateMonitor(BLOCK, probes=_probes(), table=path), model, epochs=3)
    resumed = GateMonitor(BLOCK, probes=_probes(), table=path)
    resumed.set_model(model)
    resumed.on_epoch_end(1)
    epochs = read_json(path)["epochs"]
    assert [entry["epoch"] for entry in epochs] == [1, 2]
    assert epochs[1] == {"epoch": 2, **resumed.calibration}


def test_tensorboard(tmp_path: Path) -> None:
    monitor = GateMonitor(BLOCK, probes=_probes(), log_dir=tmp_path / "board")
    logs = _logs(monitor, _model(_given), epochs=2)
    (path,) = (tmp_path / "board").iterdir()
    written: dict[str, dict[int, float]] = {}
    for record in tf.data.TFRecordDataset(str(path)):
        event = tf.compat.v1.Event.FromString(record.numpy())
        for value in event.summary.value:
            assert value.metadata.plugin_data.plugin_name == "scalars"
            number = float(tf.make_ndarray(value.tensor))
            written.setdefault(value.tag, {})[event.step] = number
    assert set(written) == set(logs)
    assert written["gate_auc"] == {1: 0.5, 2: 0.5}
    assert written["alpha"][2] == pytest.approx(logs["alpha"])
