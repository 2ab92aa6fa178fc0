"""Content hashes: equal inputs and settings give equal fingerprints."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, as hexadecimal text."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def file_hashes(folder: str | os.PathLike[str], *, skip: str = "") -> dict[str, str]:
    """SHA-256 of every file below a folder, by relative path, in path order.

    Args:
        folder: the folder.
        skip: str. Name of files to leave out.
    """
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): file_sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != skip
    }


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON form.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
