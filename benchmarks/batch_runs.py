"""The batch pipelines as processes, by runner: what other benchmarks run and compare."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PIPELINES = Path(__file__).parents[1] / "pipelines"
DIRECT = "--runner=DirectRunner"
RUNNERS = {
    "in_process": ["--in-process"],
    "beam": [DIRECT, "--direct_running_mode=in_memory"],
    "processes": [
        DIRECT,
        "--direct_running_mode=multi_processing",
        "--direct_num_workers=2",
    ],
    "dask": ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"],
}


@contextlib.contextmanager
def runner_options(name: str) -> Iterator[list[str]]:
    """Options of a runner; of Dask with a cluster of two worker processes."""
    if name != "dask":
        yield RUNNERS[name]
        return
    import distributed

    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield [*RUNNERS[name], f"--dask_client_address={cluster.scheduler_address}"]


def commands(
    tables: Path, to: Path, config: Path, llm: Path
) -> dict[str, tuple[str, ...]]:
    """What each stage runs, in their order; each writes the folder of its name.

    Args:
        tables: folder of `interactions.parquet` and `items.parquet`.
        to: folder of the results.
        config: YAML with the settings of a local teacher.
        llm: YAML with those of a language model.
    """
    store = str(to / "store")
    return {
        "store": (
            "store.py",
            *("--interactions", str(tables / "interactions.parquet")),
            *("--items", str(tables / "items.parquet")),
            *("--to", store),
        ),
        "scores": (
            *("score_table.py", store, "--config", str(config)),
            *("--to", str(to / "scores")),
        ),
        "requests": (
            *("llm_requests.py", store, "--config", str(llm)),
            *("--to", str(to / "requests")),
        ),
        "records": (
            *("training_records.py", store, "--scores", str(to / "scores")),
            *("--to", str(to / "records")),
        ),
    }


def started(command: Sequence[str], options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts a pipeline's script."""
    script, *own = command
    return subprocess.Popen(
        [sys.executable, str(PIPELINES / script), *own, *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def finished(process: subprocess.Popen[bytes]) -> tuple[int, str, dict[str, float]]:
    """Waits for a script: its exit code, what it said, and what it took.

    `cpu_seconds` are of it and its workers, `peak_mb` of the largest of them.
    """
    assert process.stderr is not None
    said = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    return process.returncode, said, took
