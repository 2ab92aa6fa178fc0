"""Compares an export, loaded in a fresh process, with its Keras model."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import read_json
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut, Targets
from keras_sllmr.training.feature_tables import FeatureTables

TOLERANCE = 1e-5


def check_export(
    path: str | os.PathLike[str],
    backbone: Any,
    spec: FeatureSpec,
    store: FeatureStore,
    rows: int = 64,
    seed: int = 0,
) -> dict[str, Any]:
    """Compares an export's logits with the backbone's on validation rows.

    The export is loaded in a fresh process that knows TensorFlow alone, and gets raw
    ids and cells; the backbone gets the features that training gathers.

    Args:
        path: the exported version's folder.
        backbone: the Keras model that was exported.
        spec: sizes of the features.
        store: the feature store.
        rows: int ≥ 1. Validation rows to compare, at most all. Defaults to `64`.
        seed: int. Of the choice of rows. Defaults to `0`.

    Returns:
        `rows`, how many were compared, and `max_abs_diff` of their logits.

    Raises:
        ConfigError: when `rows` is below 1.
        StoreError: when the export cannot be loaded, or differs by more than 1e-5.
    """
    if rows < 1:
        raise ConfigError(f"`rows` must be at least 1. Received: rows={rows}")
    split = LeaveOneOut(store)
    every = split.validation
    chosen = permutation(len(every), seed)[:rows]
    targets = Targets(every.users[chosen], every.positions[chosen], every.items[chosen])
    tables = FeatureTables(split, spec, list(backbone.input))
    features = tables.features(targets.users, targets.positions, targets.items)
    expected = np.ravel(backbone(features, training=False))
    found = _logits(path, _raw_inputs(store, targets, list(backbone.input)))
    difference = float(np.max(np.abs(found - expected)))
    if not difference <= TOLERANCE:
        raise StoreError(
            f"The logits of an export must be within {TOLERANCE} of the Keras model's. "
            f"Received: a difference of {difference:.3g} on {len(targets)} rows of "
            f"{path}. Export this model again with `sllmr export`."
        )
    return {"rows": len(targets), "max_abs_diff": difference}


def _raw_inputs(
    store: FeatureStore, targets: Targets, names: Collection[str]
) -> dict[str, list[Any]]:
    # Whole histories, padded on the right: the export has to cut and to align them.
    histories = [
        store.item_ids[store.events.row(user)[:position]].tolist()
        for user, position in zip(targets.users, targets.positions, strict=True)
    ]
    inputs: dict[str, list[Any]] = {
        "item_id": store.item_ids[targets.items].tolist(),
        "history": _padded(histories),
    }
    if "user" in names:
        inputs["user_id"] = store.user_ids[targets.users].tolist()
    rows = {
        "user": targets.users,
        "context": store.events.offsets[targets.users] + targets.positions,
    }
    for name, column in store.columns.items():
        if name in names and column.entity != "item":
            cells = [column.cell(row) for row in rows[column.entity]]
            inputs[name] = _padded(cells) if column.kind == "multi" else cells
    return inputs


def _padded(rows: list[list[str]]) -> list[list[str]]:
    width = max(map(len, rows))
    return [row + [""] * (width - len(row)) for row in rows]


def _logits(path: str | os.PathLike[str], inputs: dict[str, list[Any]]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        request, response = Path(folder, "request.json"), Path(folder, "response.json")
        request.write_text(json.dumps(inputs), encoding="utf-8")
        module = "keras_sllmr.serving.fresh_process"
        done = subprocess.run(
            [sys.executable, "-m", module, str(path), str(request), str(response)],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
            raise StoreError(
                f"{path} could not be loaded and called in a fresh process: {said[-1]}. "
                "Export it again with `sllmr export`."
            )
        return np.asarray(read_json(response)["logit"], np.float64)
