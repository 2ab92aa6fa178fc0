"""Runs stages on Apache Beam: the same results from every runner that Beam has."""

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.errors import EnvironmentProblem, SllmrError, StoreError
from keras_sllmr.pipeline.stage import Stage

try:
    import apache_beam as beam
    import cloudpickle
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError as error:
    raise EnvironmentProblem(
        "Batch pipelines on several machines need Apache Beam. Received: no module "
        f"{error.name}. Install it with `pip install keras_sllmr[beam]`."
    ) from error


_MULTI_PROCESSING = "--direct_running_mode=multi_processing"
#: what a process says whose worker was lost.
LOST = "A worker was lost"


class Beam:
    """Runs each stage as a pipeline of Create, ParDo and GroupByKey.

    Workers and this process share `folder`: results, and errors that a user can act on,
    come back as small files there. Anything else that fails in a worker fails the
    pipeline, and nothing is left of it.

    Args:
        options: the pipeline's, as on Beam's command line, e.g.
            `["--runner=DirectRunner", "--direct_num_workers=2"]`. Defaults to Beam's
            defaults.
        folder: a folder that all workers see. Defaults to the system's temporary
            folder, which suits runners on this machine alone.
        told: called with the stage's name as it begins. Defaults to nothing.

    Raises:
        EnvironmentProblem: when Beam is not installed.
        ConfigError: when an option is not one of Beam's.

    Example:
        >>> stage = Stage("squares", [3, 4], lambda number, unit: unit[0] ** 2)
        >>> Beam().run(stage)                                   # doctest: +SKIP
        {0: 9, 1: 16}
    """

    def __init__(
        self,
        options: Sequence[str] = (),
        *,
        folder: str | os.PathLike[str] | None = None,
        told: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.options, self.folder, self.told = list(options), folder, told

    def run(self, stage: Stage) -> dict[int, Any]:
        """See `Runner.run`.

        Raises:
            StoreError: when the pipeline fails for another reason, e.g. a worker's end.
        """
        self.told(stage.name)
        scratch = Path(tempfile.mkdtemp(prefix=".beam-", dir=self.folder))
        try:
            try:
                self._run(stage, scratch)
            except Exception as error:
                _raise_noted(scratch)
                raise StoreError(
                    f"The stage {stage.name!r} failed on Beam: "
                    f"{_last_line(error)}. Nothing was written; run it again."
                ) from error
            _raise_noted(scratch)
            return {
                int(path.suffix[1:]): pickle.loads(path.read_bytes())
                for path in _numbers(scratch, "result")
            }
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _run(self, stage: Stage, scratch: Path) -> None:
        if _MULTI_PROCESSING in self.options:
            _run_apart(stage, self.options, scratch)
        else:
            run_pipeline(stage, self.options, scratch)


def run_pipeline(stage: Stage, options: Sequence[str], scratch: Path) -> None:
    """Runs a stage; results and errors become files of `scratch`."""
    units = [(n, pickle.dumps(unit)) for n, unit in enumerate(stage.units)]
    pipeline = beam.Pipeline(options=PipelineOptions(list(options)))
    (
        pipeline
        | "units" >> beam.Create(units)
        | "split" >> beam.ParDo(_Split(stage, scratch))
        # Without a split too: what follows may then run on any worker.
        | "by key" >> beam.GroupByKey()
        | "combine" >> beam.ParDo(_Combine(stage, scratch))
    )
    result = pipeline.run()
    try:
        state = result.wait_until_finish()
    finally:
        # Of a Dask cluster, whose runner leaves it open.
        client = getattr(result, "client", None)
        if client is not None:
            client.close()
    if state not in (None, "DONE"):
        raise RuntimeError(f"the pipeline ended as {state}")


def _run_apart(stage: Stage, options: Sequence[str], scratch: Path) -> None:
    """Runs a stage in a session of its own, which ends as a whole.

    Beam's multi-process mode waits for ever for a worker that was killed.
    """
    (scratch / "job").write_bytes(cloudpickle.dumps((stage, options)))
    command = [sys.executable, "-m", "keras_sllmr.pipeline.beam_process", str(scratch)]
    with open(scratch / "log", "w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait()
        finally:
            process.kill()
    if process.returncode:
        log_lines = (scratch / "log").read_text(errors="replace").splitlines()
        said = [line for line in log_lines if line.startswith(LOST)]
        raise RuntimeError(said[-1] if said else f"exit code {process.returncode}")


def _last_line(problem: Exception) -> str:
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return f"{type(problem).__name__}: {lines[-1].strip() if lines else 'no message'}"


def _raise_noted(scratch: Path) -> None:
    """Raises the first error that a worker left."""
    for noted in _numbers(scratch, "split") + _numbers(scratch, "combine"):
        raise pickle.loads(noted.read_bytes())


def _numbers(scratch: Path, kind: str) -> list[Path]:
    """Files of a kind, by their numbers."""
    return sorted(scratch.glob(f"{kind}.*"), key=lambda path: int(path.suffix[1:]))


def _put(path: Path, value: Any) -> None:
    """Writes a value whole; whoever writes the same again may win."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    beside.write_bytes(pickle.dumps(value))
    os.replace(beside, path)


class _Split(beam.DoFn):
    """A unit's parts, each with its place in the order of all."""

    def __init__(self, stage: Stage, scratch: Path) -> None:
        super().__init__()
        self.stage, self.scratch = stage, scratch

    def process(
        self, element: tuple[int, bytes]
    ) -> Iterator[tuple[int, tuple[int, int, bytes]]]:
        number, unit = element
        try:
            parts = self.stage.parts(number, pickle.loads(unit))
            for place, (key, value) in enumerate(parts):
                yield key, (number, place, pickle.dumps(value))
        except SllmrError as error:
            _put(self.scratch / f"split.{number}", error)


class _Combine(beam.DoFn):
    """Combines a key's parts, and leaves the result where the driver finds it."""

    def __init__(self, stage: Stage, scratch: Path) -> None:
        super().__init__()
        self.stage, self.scratch = stage, scratch

    def process(self, element: tuple[int, Iterable[tuple[int, int, bytes]]]) -> None:
        key, parts = element
        values = [pickle.loads(value) for _, _, value in sorted(parts)]
        try:
            _put(self.scratch / f"result.{key}", self.stage.combine(key, values))
        except SllmrError as error:
            _put(self.scratch / f"combine.{key}", error)
