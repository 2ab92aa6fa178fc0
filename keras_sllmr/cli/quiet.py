"""TensorFlow's start-up without its native log lines."""

import contextlib
import os
import sys
from collections.abc import Iterator


def start_tensorflow() -> None:
    """Imports TensorFlow and finds its devices, with native log lines muted.

    They speak of GPUs that nobody asked for, straight to file descriptor 2, before any
    log level counts. Python's own errors are raised as ever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_muted():
        from keras_sllmr.compat import tf

        tf.constant(0)


@contextlib.contextmanager
def _native_stderr_muted() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
