"""A process for Beam's multi-process mode: it ends with its workers, and they with it.

python -m keras_sllmr.pipeline.beam_process SCRATCH
"""

import os
import signal
import sys
import threading
from pathlib import Path

import cloudpickle

from keras_sllmr.io.parent import end_with_parent
from keras_sllmr.pipeline.beam import LOST, run_pipeline


def _end_all(said: str = "") -> None:
    """Ends this session: the workers were started in it."""
    print(said, flush=True)
    os.killpg(0, signal.SIGKILL)


def _worker_lost(failed: threading.ExceptHookArgs) -> None:
    # Beam starts a thread a worker, which fails when the worker does.
    _end_all(f"{LOST}: {failed.exc_value}")


def main(scratch: Path) -> None:
    """Runs the stage that is described in a folder."""
    threading.excepthook = _worker_lost
    end_with_parent(_end_all)
    stage, options = cloudpickle.loads((scratch / "job").read_bytes())
    run_pipeline(stage, options, scratch)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
