"""TensorFlow's start-up without its native log lines."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any


def start_tensorflow(first: Callable[[], Any] = lambda: None) -> Any:
    """Imports TensorFlow and finds its devices, with native log lines muted.

    They speak of GPUs that nobody asked for, straight to file descriptor 2, before any
    log level counts. Python's own errors are raised as ever.

    Args:
        first: called before TensorFlow's first operation. Defaults to nothing.

    Returns:
        What `first` gives.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _native_stderr_muted():
        from keras_sllmr.compat import tf

        given = first()
        tf.constant(0)
    return given


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
