import io
from typing import Any, ClassVar

import alternating
import numpy as np
import pytest
from alternating import Measured, alternate, summarised
from catalogue_growth import costs, synthetic
from measurements import measure_each
from timed_fit import Windows
from train_throughput import ratios

from keras_sllmr.compat import keras
from keras_sllmr.io.atomic import read_json


class FakeWorker:
    """Answers a rate that grows by one a window; remembers who was asked."""

    turns: ClassVar[list[str]] = []

    def __init__(self, options: dict[str, Any]) -> None:
        self.name, self.rate = options["side"], options["rate"]

    def run(self, seconds: float) -> float:
        self.turns.append(self.name)
        self.rate += 1
        return float(self.rate)

    def close(self) -> float:
        return 7.4

    def kill(self) -> None:
        self.turns.append(f"{self.name} ended")


def test_workers_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternating, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "turns", [])
    options = {name: {"side": name, "rate": 10 * ord(name)} for name in "ab"}
    measured = alternate(options, rounds=3, seconds=0.1)
    assert FakeWorker.turns == [*"abababab", "a ended", "b ended"]
    # The first window of each is not counted.
    assert measured["a"] == Measured([972.0, 973.0, 974.0], 7.4)
    assert summarised(measured) == {
        "a": 973,
        "b": 983,
        "peak_mb": {"a": 7, "b": 7},
        "spread": {"a": [972, 974], "b": [982, 984]},
    }


def test_windows_pause_and_count() -> None:
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    answers: list[dict[str, float]] = []
    windows = Windows(4, io.StringIO("0.05\n0.02\n"), answers.append, settle=0.01)
    ones = np.ones((20, 1), np.float32)
    history = model.fit(
        ones, ones, batch_size=4, epochs=10**6, verbose=0, callbacks=[windows]
    )
    assert len(answers) == 2
    rates = [answer["rows_per_second"] for answer in answers]
    assert min(rates) > 0
    # More rows than the measured rates would allow were never trained.
    assert len(history.epoch) * 20 < 60 * max(rates)


def test_ratios() -> None:
    rows = {
        "deepfm": {"deepctr": 10, "plain": 40, "sllmr": 32},
        "din": {"deepctr": 10, "plain": 90, "sllmr": 90},
    }
    assert ratios(rows)["ratios"] == {
        "plain_over_deepctr": {"deepfm": 4, "din": 9, "geometric_mean": 6},
        "sllmr_epoch_over_plain": {"deepfm": 1.25, "din": 1, "geometric_mean": 1.12},
    }


def test_costs() -> None:
    small = {"deepctr": 10_000, "plain": 50_000, "sllmr": 40_000}
    large = {"deepctr": 100, "plain": 40_000, "sllmr": 40_000}
    found = costs({"10000": small, "1000000": large})["microseconds_a_row"]
    assert found["deepctr"] == {"10000": 100, "1000000": 10_000, "growth": 100}
    assert found["plain"] == {"10000": 20, "1000000": 25, "growth": 1.25}


def test_results_are_kept_and_never_mixed(tmp_path: Any) -> None:
    path, measured = tmp_path / "results.json", []

    def measure(name: str) -> dict[str, Any]:
        if name == "c":
            raise KeyboardInterrupt
        measured.append(name)
        return {"rate": 1, "peak_mb": {}}

    def each(names: str, **settings: int) -> dict[str, Any]:
        return measure_each(
            names,
            measure,
            lambda rows: {"summary": {"n": len(rows)}},
            settings=settings,
            out=path,
        )

    with pytest.raises(KeyboardInterrupt):
        each("abc", batch=1)
    assert read_json(path)["summary"] == {"n": 2}
    assert each("ab", batch=1)["summary"] == {"n": 2}
    assert measured == ["a", "b"]
    with pytest.raises(SystemExit, match="other settings"):
        each("ab", batch=2)


def test_synthetic_data() -> None:
    raw = synthetic(500, users=20, events=12)
    assert len(raw.items) == 500 and raw.items["item"].is_monotonic_increasing
    assert len(raw.interactions) == 240
    assert not raw.interactions.duplicated(["user", "item"]).any()
    again = synthetic(500, users=20, events=12)
    assert raw.interactions.equals(again.interactions)
    uniform = synthetic(500, users=20, events=12, zipf=0)
    assert uniform.interactions["item"].nunique() > raw.interactions["item"].nunique()


@pytest.mark.slow
def test_processes_train_and_answer(small_store: Any) -> None:
    shared = {"store": str(small_store.path), "backbone": "deepfm", "threads": 1}
    shared |= {"batch": 32, "embedding": 4}
    workers = {side: {**shared, "side": side} for side in ("deepctr", "plain")}
    found = summarised(alternate(workers, rounds=1, seconds=0.2))
    for side in workers:
        assert found[side] > 0
        assert 100 < found["peak_mb"][side] < 10_000
    broken = {"plain": {**shared, "side": "plain", "backbone": "none such"}}
    with pytest.raises(RuntimeError, match="plain ended with exit code 1"):
        alternate(broken, rounds=1, seconds=0.2)
