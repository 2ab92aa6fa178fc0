"""Worker processes that take turns, so that a busy machine slows all of them alike."""

import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WORKER = Path(__file__).with_name("training_worker.py")
SIDES = ("deepctr", "plain", "sllmr")


class Worker:
    """One side's training in a process of its own; see `training_worker`.

    Args:
        options: of the worker.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_threads(options["threads"])},
        )

    def run(self, seconds: float) -> float:
        """Trains for a while; returns labelled rows a second."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(seconds, file=self._process.stdin, flush=True)
        return float(self._answer()["rows_per_second"])

    def close(self) -> float:
        """Ends the training; returns the peak memory in MB."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        peak = float(self._answer()["peak_mb"])
        self._process.wait()
        return peak

    def kill(self) -> None:
        """Ends the process, whatever it does."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                f"The process of {self.options['side']} ended with exit code "
                f"{self._process.wait()}; its error is above."
            )
        answer: dict[str, float] = json.loads(line)
        return answer


def _threads(number: int) -> dict[str, str]:
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(number)) if number else {}


@dataclass(frozen=True)
class Measured:
    """One worker's windows.

    Args:
        rates: labelled rows a second of each window.
        peak_mb: the process's highest resident memory.
    """

    rates: list[float]
    peak_mb: float


@contextlib.contextmanager
def _started(options: dict[str, dict[str, Any]]) -> Iterator[dict[str, Worker]]:
    workers: dict[str, Worker] = {}
    try:
        for name, values in options.items():
            workers[name] = Worker(values)
        yield workers
    finally:
        for worker in workers.values():
            worker.kill()


def alternate(
    options: dict[str, dict[str, Any]], *, rounds: int, seconds: float
) -> dict[str, Measured]:
    """Measures workers by turns: a, b, c, a, b, c, …

    Args:
        options: of each worker, by a name.
        rounds: int. Windows of each worker.
        seconds: float. Length of a window.
    """
    rates: dict[str, list[float]] = {name: [] for name in options}
    with _started(options) as workers:
        for worker in workers.values():
            worker.run(0.5)  # Traces, and lets the caches and pools fill.
        for _ in range(rounds):
            for name, worker in workers.items():
                rates[name].append(worker.run(seconds))
        peaks = {name: worker.close() for name, worker in workers.items()}
    return {name: Measured(rates[name], peaks[name]) for name in options}


def summarised(sides: dict[str, Measured]) -> dict[str, Any]:
    """For each side the median rate; their `spread` (lowest, highest) and `peak_mb`."""
    result: dict[str, Any] = {
        side: round(statistics.median(one.rates)) for side, one in sides.items()
    }
    result["peak_mb"] = {side: round(one.peak_mb) for side, one in sides.items()}
    result["spread"] = {
        side: [round(min(one.rates)), round(max(one.rates))]
        for side, one in sides.items()
    }
    return result
