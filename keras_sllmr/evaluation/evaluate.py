"""The evaluation job: a model's values on the test rows, kept row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.evaluation.full_ranking import full_ranking
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.evaluation.heldout import HOW, TestRows
from keras_sllmr.evaluation.result import Result
from keras_sllmr.training.dataset import row_batches
from keras_sllmr.training.feature_tables import FeatureTables


def evaluate_model(
    backbone: Any,
    spec: FeatureSpec,
    rows: TestRows,
    *,
    domain: str = "",
    backbone_name: str = "",
    method: str = "",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **about: Any,
) -> Result:
    """Scores one model on the test rows.

    Args:
        backbone: the model, from features to logits.
        spec: sizes of its features.
        rows: the test rows.
        domain: str. What the data are called in comparisons.
        backbone_name: str. What the backbone is called.
        method: str. What the way it was trained is called.
        seed: int. Of its training.
        progress: called with (users ranked, all users).
        **about: more that the result should say of the model.

    Returns:
        Its result, with `ranks` when `rows.settings.full`.
    """
    tables = FeatureTables(rows.split, spec, list(backbone.input))
    logits = [
        backbone.predict(row_batches(tables, rows.targets, items), verbose=0)[:, 0]
        for items in (rows.targets.items, rows.negatives)
    ]
    return Result(
        {
            **about,
            "domain": domain,
            "backbone": backbone_name,
            "method": method,
            "seed": seed,
            "rows": rows.fingerprint,
            "k": rows.settings.k,
            "evaluate": rows.settings.model_dump(mode="json", exclude=HOW),
        },
        rows.targets.users,
        dict(rows.slices),
        rows.pools,
        np.concatenate(logits),
        _ranks(backbone, tables, rows, progress) if rows.settings.full else {},
    )


def _ranks(
    backbone: Any,
    tables: FeatureTables,
    rows: TestRows,
    progress: Callable[[int, int], None] | None,
) -> dict[str, np.ndarray]:
    store, targets = rows.split.store, rows.targets
    item_inputs = [name for name in tables.names if name in tables.spec.item_inputs]
    settings = rows.settings
    scorer = GridScorer(
        backbone,
        item_inputs=item_inputs,
        user_chunk=settings.user_chunk,
        item_block=settings.item_block,
        pairs_at_once=settings.pairs_at_once,
    )
    scorer.set_items(tables.item_features(np.arange(1, store.n_items + 1)))

    def of_users(chunk: np.ndarray) -> dict[str, Any]:
        return tables.user_features(targets.users[chunk], targets.positions[chunk])

    offsets = store.events.offsets[1:]
    ranked = full_ranking(
        scorer,
        of_users,
        targets.items,
        (store.events.values, offsets - offsets[0]),
        progress=progress,
    )
    return {
        "above": ranked.above,
        "ties": ranked.ties,
        "candidates": ranked.candidates,
    }
