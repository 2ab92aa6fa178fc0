"""Manifests: what an artefact holds, what it was made from, and with which settings."""

import datetime
import os
from pathlib import Path
from typing import Any

import keras_sllmr
from keras_sllmr.errors import StoreError
from keras_sllmr.io.atomic import read_json, write_json
from keras_sllmr.io.hashing import file_hashes, file_sha256, fingerprint

FILE_NAME = "manifest.json"
_PARTS = ("counts", "settings", "parent", "files")


def write_manifest(
    folder: str | os.PathLike[str],
    *,
    kind: str,
    schema_version: int,
    parent: dict[str, Any],
    settings: dict[str, Any],
    counts: dict[str, int],
    **extra: Any,
) -> dict[str, Any]:
    """Hashes a folder's files and writes its `manifest.json`.

    Args:
        folder: the finished artefact, still beside its final place.
        kind: what it is, e.g. `"store"` or `"llm_score"`.
        schema_version: of the artefact's layout.
        parent: what it was made from, with fingerprints.
        settings: all settings that shape the content.
        counts: row counts by view.
        **extra: further entries.

    Returns:
        The manifest. Its `fingerprint` covers the content, not the time of making.
    """
    folder = Path(folder)
    files = file_hashes(folder, skip=FILE_NAME)
    manifest = {
        "kind": kind,
        "schema_version": schema_version,
        "fingerprint": fingerprint([kind, schema_version, files]),
        "code_version": keras_sllmr.__version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(
            timespec="seconds"
        ),
        "counts": counts,
        "settings": settings,
        "parent": parent,
        **extra,
        "files": files,
    }
    write_json(folder / FILE_NAME, manifest)
    return manifest


def read_manifest(
    folder: str | os.PathLike[str], *, kind: str, schema_version: int
) -> dict[str, Any]:
    """Reads and checks a manifest.

    Raises:
        StoreError: when there is none, or it is damaged, or of another kind or version.
    """
    folder = Path(folder)
    if not (folder / FILE_NAME).exists():
        raise StoreError(
            f"{folder} is not a {kind.replace('_', ' ')}: it has no {FILE_NAME}."
        )
    manifest = read_json(folder / FILE_NAME)
    found = _kind(manifest)
    if found != kind:
        raise StoreError(f"{folder} should be a {kind}. Received: a {found}.")
    if manifest.get("schema_version") != schema_version:
        raise StoreError(
            f"{folder} has schema version {manifest.get('schema_version')}, and this "
            f"release of keras_sllmr ({keras_sllmr.__version__}) reads version "
            f"{schema_version}. Make it again, or use the release that made it "
            f"({manifest.get('code_version')})."
        )
    lacking = [part for part in _PARTS if not isinstance(manifest.get(part), dict)]
    if lacking or "fingerprint" not in manifest:
        raise StoreError(
            f"{folder / FILE_NAME} is damaged: it lacks {lacking or ['fingerprint']}. "
            "Make it again from its source."
        )
    return manifest


def require_replaceable(path: str | os.PathLike[str], *, kind: str) -> None:
    """Refuses to write over what the user may not want to lose.

    Args:
        path: where an artefact is to go: nothing, an empty folder or an older one.
        kind: of the artefact.

    Raises:
        StoreError: when anything else is there.
    """
    path = Path(path)
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    try:
        found = _kind(read_json(path / FILE_NAME))
    except StoreError:
        found = None
    if found != kind:
        raise StoreError(
            f"{path} exists and is not a {kind.replace('_', ' ')}, so it is not "
            "replaced. Choose another folder, or remove it first."
        )


def _kind(manifest: Any) -> Any:
    return manifest.get("kind") if isinstance(manifest, dict) else None


def verify_files(folder: str | os.PathLike[str], manifest: dict[str, Any]) -> None:
    """Checks that every file is there and has the hash that the manifest says.

    Raises:
        StoreError: naming the first file that differs, the manifest included.
    """
    for name, sha256 in manifest["files"].items():
        path = Path(folder) / name
        if not path.exists():
            raise StoreError(f"{path} is missing. Make it again from its source.")
        if file_sha256(path) != sha256:
            raise StoreError(
                f"{path} is not what was written: its hash differs from the "
                "manifest's. Make it again from its source."
            )
    content = [manifest[part] for part in ("kind", "schema_version", "files")]
    if fingerprint(content) != manifest["fingerprint"]:
        raise StoreError(
            f"{Path(folder) / FILE_NAME} is not what was written: its fingerprint is "
            "not that of its files. Make it again from its source."
        )
