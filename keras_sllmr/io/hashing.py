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


def folder_sha256(folder: str | os.PathLike[str], pattern: str = "**/*") -> str:
    """SHA-256 over the names and contents of a folder's files, in name order."""
    folder = Path(folder)
    listing = {
        str(path.relative_to(folder)): file_sha256(path)
        for path in sorted(folder.glob(pattern))
        if path.is_file()
    }
    return fingerprint(listing)


def fingerprint(value: Any) -> str:
    """SHA-256 of a value's canonical JSON form.

    Example:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
