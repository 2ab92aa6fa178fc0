"""Versioned exports for TensorFlow Serving: `<folder>/<name>/<version>/`."""

import os
import platform
import re
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.serving.signatures import RawIdScorer, check_backbone
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import FILE_NAME, read_manifest, write_manifest

EXPORT_VERSION = 1
# TensorFlow Serving hands this folder on and reads nothing but warm-up records in it.
_EXTRA = "assets.extra"


def export_model(
    backbone: Any,
    spec: FeatureSpec,
    store: FeatureStore,
    folder: str | os.PathLike[str] = "saved_models",
    *,
    name: str,
    version: int | None = None,
    replace: bool = False,
    model: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
    labels: dict[str, str] | None = None,
) -> Path:
    """Writes the bare backbone with its look-ups as a SavedModel, whole or not at all.

    The graph is the look-up of raw ids and the backbone's inference: nothing of the
    trainer, the gate or the LLM. See `RawIdScorer.signatures` for inputs and outputs.

    Args:
        backbone: functional `keras.Model`, see `RawIdScorer`.
        spec: sizes of the features.
        store: the feature store that the backbone was trained on.
        folder: where all exports are. Defaults to `"saved_models"`.
        name: str. The served model's name.
        version: int ≥ 1. Defaults to the one after the highest that is there.
        replace: bool. Put the new export in an older one's place, whole or not at
            all? Meant for a run that exports anew; what is served should get a
            version of its own. Defaults to `False`.
        model: the trained model's manifest, kept in the export's.
        metrics: the model's evaluation, kept in the manifest.
        labels: further notes, kept in the manifest.

    Returns:
        The version's folder. Its manifest is in `assets.extra/manifest.json`.

    Raises:
        ConfigError: on a name that is no folder name, a version below 1, or a backbone
            that does not fit `spec` and `store`.
        DataError: when an id holds a line break.
        StoreError: when the version exists, another job exports this model, or the
            disk is full.

    Example:
        >>> export_model(backbone, spec, store, name="beauty")     # doctest: +SKIP
        PosixPath('saved_models/beauty/1')
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name):
        raise ConfigError(
            "`name` must be made of letters, digits, '_', '-' and '.', and not start "
            f"with '-' or '.'. Received: name={name!r}"
        )
    if version is not None and version < 1:
        raise ConfigError(f"`version` must be at least 1. Received: version={version}")
    check_backbone(backbone, spec, store)
    base = Path(folder) / name
    with exclusive(base):
        path = base / str(_next_version(base) if version is None else version)
        if path.exists() and replace:
            export_manifest(path)  # nothing but an export is replaced
        elif path.exists():
            raise StoreError(
                f"{path} exists, and an exported version is never overwritten. Choose "
                "another version, or leave it out for the next one."
            )
        with replace_folder(path) as beside:
            _save(backbone, spec, store, beside)
            write_manifest(
                beside,
                kind="export",
                schema_version=EXPORT_VERSION,
                parent={
                    "store": store.fingerprint,
                    "model": None if model is None else model["fingerprint"],
                },
                settings={"features": spec.to_dict()},
                counts={
                    "users": store.n_users,
                    "items": store.n_items,
                    "parameters": backbone.count_params(),
                },
                name=name,
                version=int(path.name),
                model=model,
                metrics=metrics,
                labels=labels or {},
                versions={
                    "python": platform.python_version(),
                    "tensorflow": tf.__version__,
                    "tf_keras": metadata.version("tf_keras"),
                },
            )
            (beside / _EXTRA).mkdir()
            (beside / FILE_NAME).rename(beside / _EXTRA / FILE_NAME)
    return path


def export_manifest(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The manifest of an exported version.

    Args:
        path: the version's folder.

    Raises:
        StoreError: when there is none, or it is of another kind or version.
    """
    return read_manifest(
        Path(path) / _EXTRA, kind="export", schema_version=EXPORT_VERSION
    )


def load_export(path: str | os.PathLike[str]) -> Any:
    """Loads an exported version.

    Args:
        path: the version's folder.

    Returns:
        The loaded module; keep it for as long as its `signatures` are called.

    Raises:
        StoreError: when there is no whole export.
    """
    try:
        return tf.saved_model.load(str(path))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise StoreError(
            f"{path} cannot be loaded as an exported version: "
            f"{str(error).strip().splitlines()[0]}. Export it again with "
            "`sllmr export`."
        ) from error


def _save(backbone: Any, spec: FeatureSpec, store: FeatureStore, folder: Path) -> None:
    # TensorFlow names a table by its file's path, and one process's tables of one name
    # are one: a folder of its own keeps each export's vocabulary apart.
    with tempfile.TemporaryDirectory() as vocabularies:
        module = RawIdScorer(backbone, spec, store, vocabularies)
        try:
            tf.saved_model.save(module, str(folder), signatures=module.signatures())
        except tf.errors.OpError as error:  # e.g. a full disk
            raise OSError(str(error.message)) from error


def _next_version(base: Path) -> int:
    versions = [int(path.name) for path in base.glob("*") if path.name.isdecimal()]
    return max(versions, default=0) + 1
