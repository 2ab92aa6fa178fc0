"""Outputs written beside their final place and renamed, so none is ever half-written."""

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_sllmr.errors import StoreError


@contextlib.contextmanager
def replace_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty sibling folder that becomes `path` when the block succeeds.

    An existing folder at `path` stays untouched until the new one is whole. When
    the block raises, the sibling is removed; running out of disk, or a file at
    `path`, is reported as a `StoreError`.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "out"
        >>> with replace_folder(target) as folder:
        ...     _ = (folder / "a.txt").write_text("whole")
        >>> (target / "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path} should be a folder and is a file. Choose another.")
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        with _disk_errors(path):
            yield beside
            _umask_permissions(beside)
            if path.exists():
                _swap(beside, path)
            else:
                os.rename(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    try:
        os.rename(path, old / path.name)
        os.rename(new, path)
    finally:
        _settle(path, old)


def _settle(path: Path, old: Path) -> None:
    """Brings back what `old` holds of `path` if nothing took its place; drops `old`."""
    kept = old / path.name
    if os.path.lexists(kept) and not os.path.lexists(path):
        os.rename(kept, path)
    shutil.rmtree(old, ignore_errors=True)


def sweep(path: str | os.PathLike[str]) -> None:
    """Clears what a killed writer of `path` left beside it, nothing of it lost.

    Only for the holder of the writer's lock: other writers' siblings look the same.
    """
    path = Path(path)
    left = re.compile(rf"\.{re.escape(path.name)}\.(new|old)-[a-z0-9_]{{8}}")
    for sibling in path.parent.iterdir():
        match = left.fullmatch(sibling.name)
        if match is None:
            continue
        if match[1] == "old":
            _settle(path, sibling)
        elif sibling.is_dir():
            shutil.rmtree(sibling, ignore_errors=True)
        else:
            sibling.unlink(missing_ok=True)


@contextlib.contextmanager
def replace_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a sibling file name that becomes `path` when the block succeeds."""
    path = Path(path)
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.new-", dir=path.parent)
        os.close(handle)
    beside = Path(name)
    try:
        with _disk_errors(path):
            yield beside
            _umask_permissions(beside)
            os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all; NaN is refused."""
    text = json.dumps(value, indent=2, sort_keys=False, allow_nan=False, default=_plain)
    with replace_file(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file; a missing or damaged one is a `StoreError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StoreError(f"No such file: {path}") from error
    except OSError as error:
        raise StoreError(f"Could not read {path}: {error.strerror}") from error
    except ValueError as error:
        raise StoreError(f"{path} is not valid JSON: {error}") from error


def _plain(value: Any) -> Any:
    """Numpy scalars and arrays as the Python values that JSON knows."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def _umask_permissions(path: Path) -> None:
    # mkdtemp and mkstemp make private files; outputs get the user's usual mode.
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"Could not write {path}: {error.strerror or error}. Nothing was left behind; "
            "free some space or check the permissions and run it again."
        ) from error
