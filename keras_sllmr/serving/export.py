"""Versioned exports for TensorFlow Serving: `<folder>/<name>/<version>/`."""

import os
import platform
import re
import tempfile
from collections.abc import Callable, Collection, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.scoring.retrieval import ExampleRetrieval
from keras_sllmr.serving.backbone_check import check_backbone
from keras_sllmr.serving.model_card import CARD_FILE, model_card
from keras_sllmr.serving.requests import Requests
from keras_sllmr.serving.server_config import ServerConfig, versions
from keras_sllmr.serving.signatures import METHODS, RawIdScorer
from keras_sllmr.serving.warmup import WARMUP_FILE, write_warmup
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import FILE_NAME, read_manifest, write_manifest
from keras_sllmr.store.split import LeaveOneOut

EXPORT_VERSION = 2
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
    run: dict[str, Any] | None = None,
    labels: Collection[str] = (),
    base_path: str | None = None,
    dense_ids: bool = False,
    retrieval: ExampleRetrieval | None = None,
    verify: Callable[[Path], object] | None = None,
) -> Path:
    """Writes the bare backbone with its look-ups as a SavedModel, whole or not at all.

    In its `assets.extra/` are a manifest, a model card and warm-up requests; beside the
    versions, the server's configuration, see `ServerConfig`.

    The graph is the look-up of raw ids, the backbone's inference and what that reads,
    be it knowledge or examples: nothing of the trainer, the gate or the LLM. See
    `RawIdScorer.signatures` for inputs and outputs.

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
        metrics: the model's evaluation, kept in the manifest; see `model_card`.
        run: what it was trained in: `name`, `teacher` and anything else worth keeping.
        labels: the version's labels in `models.config`, new ones such as `canary`.
        base_path: str. The model's folder as the server sees it. Defaults to what
            `models.config` says, else to `/models/<name>`.
        dense_ids: bool. Export `rank_dense`, too, which takes the store's indices?
            Defaults to `False`.
        retrieval: finds a row's examples, for a backbone that reads some; see
            `TrainedModel.retrieval`. Defaults to none.
        verify: called with the whole export before it is put in place; when it raises,
            nothing is. See `check_export`.

    Returns:
        The version's folder. Its manifest is in `assets.extra/manifest.json`.

    Raises:
        ConfigError: on a name that is no folder name, a version below 1, a backbone
            that does not fit `spec` and `store`, or reads examples that nothing finds,
            or a label of another version.
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
    check_backbone(backbone, spec, store, retrieval)
    base = Path(folder) / name
    with exclusive(base):
        if version is None:
            version = max(versions(base), default=0) + 1
        path = base / str(version)
        server = ServerConfig(base, name=name, base_path=base_path)
        server.label(version, labels, move=False)
        if path.exists() and replace:
            export_manifest(path)  # nothing but an export is replaced
        elif path.exists():
            raise StoreError(
                f"{path} exists, and an exported version is never overwritten. Choose "
                "another version, or leave it out for the next one."
            )
        with replace_folder(path) as beside:
            extra = beside / _EXTRA
            module = partial(
                RawIdScorer,
                backbone,
                spec,
                store,
                dense_ids=dense_ids,
                retrieval=retrieval,
            )
            signatures = _save(module, beside)
            extra.mkdir()
            write_warmup(
                extra / WARMUP_FILE,
                Requests(store, list(backbone.input), history=spec.history_length),
                LeaveOneOut(store),
                signatures,
            )
            manifest = write_manifest(
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
                    **({} if retrieval is None else {"examples": retrieval.size}),
                },
                name=name,
                version=version,
                signatures=signatures,
                model=model,
                metrics=metrics,
                run=run,
                store={
                    key: store.manifest[key]
                    for key in ("fingerprint", "counts", "parent", "columns")
                    if key in store.manifest
                },
                versions={
                    "python": platform.python_version(),
                    "tensorflow": tf.__version__,
                    "tf_keras": metadata.version("tf_keras"),
                },
            )
            (beside / FILE_NAME).rename(extra / FILE_NAME)
            (extra / CARD_FILE).write_text(model_card(manifest), encoding="utf-8")
            if verify is not None:
                verify(beside)
        server.write()
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


def _save(make: Callable[..., RawIdScorer], folder: Path) -> dict[str, Any]:
    """Saves the graph; gives what the manifest says of its signatures.

    Args:
        make: gives the graph's module by the folder of its vocabulary files.
        folder: where to.
    """
    # TensorFlow names a table by its file's path, and one process's tables of one name
    # are one: a folder of its own keeps each export's vocabulary apart.
    with tempfile.TemporaryDirectory() as vocabularies:
        module = make(vocabularies)
        try:
            signatures = module.signatures()
            tf.saved_model.save(module, str(folder), signatures=signatures)
        except tf.errors.OpError as error:  # e.g. a full disk
            raise OSError(str(error.message)) from error
    # TensorFlow marks every signature as one for Predict.
    update = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    for signature, method in METHODS.items():
        update.replace_method_name(signature, method, tags="serve")
    update.save()
    return {
        name: {
            "method": METHODS.get(name, "tensorflow/serving/predict"),
            "inputs": _described(function.structured_input_signature[1]),
            "outputs": _described(function.structured_outputs),
        }
        for name, function in signatures.items()
    }


def _described(tensors: Mapping[str, Any]) -> dict[str, str]:
    """Type and shape by name, e.g. `string [None]`."""
    return {
        name: f"{tensor.dtype.name} {tensor.shape.as_list()}"
        for name, tensor in sorted(tensors.items())
    }
