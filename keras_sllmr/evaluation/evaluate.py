"""The evaluation job: a model's scores on the test rows, kept row by row."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.errors import StoreError
from keras_sllmr.evaluation.full_ranking import full_ranking
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.evaluation.heldout import TestRows
from keras_sllmr.io.atomic import replace_file
from keras_sllmr.training.dataset import row_batches
from keras_sllmr.training.feature_tables import FeatureTables

_USERS_AT_ONCE = 256


def score_method(
    backbone: Any,
    spec: FeatureSpec,
    rows: TestRows,
    path: str | os.PathLike[str],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Scores one model on the test rows and keeps the per-row values.

    Args:
        backbone: the model, from features to logits.
        spec: sizes of its features.
        rows: the test rows.
        path: `.npz` file for the values.
        progress: called with (users ranked, all users).

    Returns:
        `logits` of the sampled rows; `above`, `ties` and `candidates` of the full
        ranking when `rows.settings.full`.
    """
    tables = FeatureTables(rows.split, spec, list(backbone.input))
    values = {
        "logits": np.concatenate(
            [
                backbone.predict(row_batches(tables, rows.targets, items), verbose=0)
                for items in (rows.targets.items, rows.negatives)
            ]
        )[:, 0]
    }
    if rows.settings.full:
        values.update(_full(backbone, tables, rows, progress))
    with replace_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, allow_pickle=False, **values)
    return values


def _full(
    backbone: Any,
    tables: FeatureTables,
    rows: TestRows,
    progress: Callable[[int, int], None] | None,
) -> dict[str, np.ndarray]:
    store, targets = rows.split.store, rows.targets
    item_inputs = [name for name in tables.names if name in tables.spec.item_inputs]
    scorer = GridScorer(backbone, item_inputs=item_inputs)
    scorer.set_items(tables.item_features(np.arange(1, store.n_items + 1)))

    def of_users(chunk: np.ndarray) -> dict[str, Any]:
        return tables.user_features(targets.users[chunk], targets.positions[chunk])

    offsets = store.events.offsets[1:]
    ranked = full_ranking(
        scorer,
        of_users,
        targets.items,
        (store.events.values, offsets - offsets[0]),
        rows_at_once=_USERS_AT_ONCE,
        progress=progress,
    )
    return {
        "above": ranked.above,
        "ties": ranked.ties,
        "candidates": ranked.candidates,
    }


def load_values(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The per-row values that `score_method` kept."""
    if not Path(path).exists():
        raise StoreError(f"No per-row values at {path}. Run `sllmr evaluate`.")
    with np.load(path) as file:
        return dict(file)
