"""One writer at a time for a store, a score table or a run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from keras_sllmr.errors import StoreError
from keras_sllmr.io.atomic import sweep


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the writer's lock of `path` for the block.

    The lock is the operating system's, on a hidden file beside `path`; a killed
    process releases it, and what it left beside `path` is cleared.

    Raises:
        StoreError: when another process holds it, or the folder cannot be written.
    """
    path = Path(path)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StoreError(
            f"Another process is writing {path}. Wait for it to finish, or write "
            "to another folder."
        ) from error
    except OSError as error:
        raise StoreError(
            f"Could not lock {path} for writing: {error.strerror or error}. Check the "
            "permissions, or write to another folder."
        ) from error
    try:
        sweep(path)
        yield
    finally:
        lock.release()
