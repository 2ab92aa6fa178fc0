"""One writer at a time for a store, a score table or a run."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from keras_sllmr.errors import StoreError


@contextlib.contextmanager
def exclusive(path: str | os.PathLike[str]) -> Iterator[None]:
    """Holds the writer's lock of `path` for the block.

    The lock is the operating system's, on a hidden file beside `path`; a killed
    process releases it.

    Raises:
        StoreError: when another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise StoreError(
            f"Another process is writing {path}. Wait for it to finish, or write "
            "to another folder."
        ) from error
    try:
        yield
    finally:
        lock.release()
