"""Compares an export, loaded in a fresh process, with its Keras model."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.scoring.retrieval import ExampleRetrieval, require_retrieval
from keras_sllmr.serving.expected import Expected
from keras_sllmr.serving.export import export_manifest
from keras_sllmr.serving.fresh_process import pack, unpack
from keras_sllmr.serving.requests import RANKINGS, Requests
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut, Targets
from keras_sllmr.training.feature_tables import FeatureTables

TOLERANCE = 1e-5
_CANDIDATES = 8


def check_export(
    path: str | os.PathLike[str],
    backbone: Any,
    spec: FeatureSpec,
    store: FeatureStore,
    rows: int = 64,
    seed: int = 0,
    *,
    retrieval: ExampleRetrieval | None = None,
) -> dict[str, Any]:
    """Compares every signature of an export with the backbone on validation rows.

    The export is loaded in a fresh process that knows TensorFlow alone, and gets raw
    ids and cells; the backbone gets the features that training gathers. Each row is
    scored, and its user ranks the items of some other rows, one of them padding.

    Args:
        path: the exported version's folder.
        backbone: the Keras model that was exported.
        spec: sizes of the features.
        store: the feature store.
        rows: int ≥ 1. Validation rows to compare, at most all. Defaults to `64`.
        seed: int. Of the choice of rows. Defaults to `0`.
        retrieval: finds a row's examples, as `export_model` got it. Defaults to none.

    Returns:
        `rows`, how many were compared; `max_abs_diff` of the outputs; and by signature
        under `signatures`.

    Raises:
        ConfigError: when `rows` is below 1, or the backbone reads examples that nothing
            finds.
        StoreError: when the export cannot be loaded and called, or differs by more
            than 1e-5, of logits above 1 by more than this share.
    """
    if rows < 1:
        raise ConfigError(f"`rows` must be at least 1. Received: rows={rows}")
    require_retrieval(backbone.input, retrieval)
    split = LeaveOneOut(store)
    every = split.validation
    chosen = permutation(len(every), seed)[:rows]
    targets = Targets(every.users[chosen], every.positions[chosen], every.items[chosen])
    candidates = _candidates(targets.items)
    k = np.arange(len(targets)) % candidates.shape[1] + 1
    requests = Requests(store, list(backbone.input))
    found = _answers(
        path,
        {
            name: requests.ranking(targets, candidates, k, name)
            if name in RANKINGS
            else requests.rows(targets, name)
            for name in export_manifest(path)["signatures"]
        },
    )
    items = np.column_stack([targets.items, candidates])
    width = items.shape[1]
    features = FeatureTables(
        split, spec, list(backbone.input), retrieval=retrieval
    ).features(
        np.repeat(targets.users, width),
        np.repeat(targets.positions, width),
        items.ravel(),
    )
    logits = np.reshape(backbone(features, training=False), items.shape).astype(float)
    expected = Expected(logits[:, 0], logits[:, 1:], candidates, store.item_ids)
    differences: dict[str, float] = {}
    for name, outputs in found.items():
        of_outputs = expected.differences(name, outputs)
        # Unlike max, NumPy's lets no NaN pass.
        differences[name] = float(np.max(list(of_outputs.values())))
        if not differences[name] <= TOLERANCE:
            raise StoreError(
                f"An export's outputs must be within {TOLERANCE} of the Keras model's. "
                f"Received: differences of {of_outputs} from {name!r} on "
                f"{len(targets)} rows of {path}. Export this model again with "
                "`sllmr export`."
            )
    return {
        "rows": len(targets),
        "max_abs_diff": max(differences.values()),
        "signatures": differences,
    }


def _candidates(items: np.ndarray) -> np.ndarray:
    """Some items a row, other ones in each, with padding in every second row."""
    width = min(_CANDIDATES, len(items))
    candidates = np.stack([np.roll(items, -shift) for shift in range(width)], axis=1)
    candidates[1::2, width // 2] = 0
    return candidates


def _answers(
    path: str | os.PathLike[str], requests: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, np.ndarray]]:
    """The outputs by signature, from a fresh process."""
    with tempfile.TemporaryDirectory() as folder:
        request, response = (
            Path(folder, "requests.json"),
            Path(folder, "responses.json"),
        )
        request.write_text(pack(requests), encoding="utf-8")
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
        return unpack(response.read_text(encoding="utf-8"))
