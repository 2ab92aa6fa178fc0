"""The batch pipelines write the same on every runner, worker deaths included."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from keras_sllmr.errors import StoreError
from keras_sllmr.pipeline.stage import Stage

pytest.importorskip("apache_beam")
from keras_sllmr.pipeline.beam import Beam

IN_MEMORY = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]
PROCESSES = [
    "--runner=DirectRunner",
    "--direct_running_mode=multi_processing",
    "--direct_num_workers=2",
]


@pytest.fixture(scope="module")
def dask():
    """Options of a Dask cluster of two worker processes."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield [
            "--runner=apache_beam.runners.dask.dask_runner.DaskRunner",
            f"--dask_client_address={cluster.scheduler_address}",
        ]


def test_direct_runner(pipelines, expected, tmp_path):
    _, records = expected
    assert pipelines(Beam(IN_MEMORY, folder=tmp_path), tmp_path) == records
    assert all(found for views in records.values() for found in views.values())


def test_dask_cluster(pipelines, expected, dask, tmp_path):
    _, records = expected
    assert pipelines(Beam(dask, folder=tmp_path), tmp_path) == records


@pytest.mark.slow
def test_processes(pipelines, expected, tmp_path):
    """One stage of them: each starts two workers, which import TensorFlow."""
    _, records = expected
    found = pipelines(Beam(PROCESSES, folder=tmp_path), tmp_path, ["predictions"])
    assert found == {"predictions": records["predictions"]}


@pytest.mark.slow
def test_processes_throughout(pipelines, expected, tmp_path):
    _, records = expected
    assert pipelines(Beam(PROCESSES, folder=tmp_path), tmp_path) == records


class KillOnce:
    """Kills its process when it first gets to a key."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __call__(self, key, found):
        if key == 1 and not os.path.exists(self.marker):
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return key, list(found)


def by_remainder(number):
    yield number % 3, number


def test_a_killed_worker_of_a_cluster_is_replaced(dask, tmp_path):
    stage = Stage("killed", range(7), KillOnce(tmp_path / "killed"), by_remainder)
    found = Beam(dask, folder=tmp_path).run(stage)
    assert found == {0: (0, [0, 3, 6]), 1: (1, [1, 4]), 2: (2, [2, 5])}
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]


def test_a_killed_process_is_an_error_and_the_stage_can_be_run_again(tmp_path):
    stage = Stage("killed", range(7), KillOnce(tmp_path / "killed"), by_remainder)
    runner = Beam(PROCESSES, folder=tmp_path)
    with pytest.raises(StoreError, match="'killed' failed.*worker was lost.*again"):
        runner.run(stage)
    assert [path.name for path in tmp_path.iterdir()] == ["killed"]
    assert runner.run(stage)[1] == (1, [1, 4])


def test_a_pipeline_that_fails_leaves_the_old_output(
    pipelines, expected, dask, tmp_path, monkeypatch
):
    """A shard that cannot be read fails the join on the workers."""
    folder, _ = expected
    shutil.copytree(folder, tmp_path / "work")
    (shard, *_) = (tmp_path / "work/scores/views/llm_score").iterdir()
    shard.write_bytes(shard.read_bytes()[:-9])
    before = (tmp_path / "work/records/manifest.json").read_text()
    with pytest.raises(StoreError, match="truncated, damaged or unreadable"):
        pipelines(Beam(dask, folder=tmp_path), tmp_path / "work", ["records"])
    assert (tmp_path / "work/records/manifest.json").read_text() == before
    left = {path.name for path in (tmp_path / "work").iterdir()}
    assert {name for name in left if not name.endswith(".lock")} == {
        "store",
        "scores",
        "records",
        "predictions",
    }
