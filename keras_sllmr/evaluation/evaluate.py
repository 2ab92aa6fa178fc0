"""The evaluation job: a model's values on the test rows, kept row by row."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.evaluation.full_ranking import FullRanking, full_ranking
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.evaluation.heldout import TestRows
from keras_sllmr.evaluation.pair_ranking import PairScorer, sampled_ranking
from keras_sllmr.evaluation.result import Result
from keras_sllmr.scoring.retrieval import require_retrieval
from keras_sllmr.training.feature_tables import FeatureTables, Retrieval
from keras_sllmr.training.row_batches import row_batches


def evaluate_model(
    backbone: Any,
    spec: FeatureSpec,
    rows: TestRows,
    *,
    domain: str = "",
    backbone_name: str = "",
    method: str = "",
    seed: int = 0,
    retrieval: Retrieval | None = None,
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
        retrieval: finds the rows' examples, of a model that reads some.
        progress: called with (users ranked, all users).
        **about: more that the result should say of the model.

    Returns:
        Its result, with `ranks` when `rows.settings.full`. Those of a model that reads
        examples are against `full_sample` drawn items.

    Raises:
        ConfigError: when the model reads examples and nothing finds them.
    """
    require_retrieval(backbone.input, retrieval)
    settings = rows.settings
    pairs = any(name in spec.pair_inputs for name in backbone.input)
    sample = settings.full_sample if pairs and settings.full else None
    tables = FeatureTables(rows.split, spec, list(backbone.input), retrieval=retrieval)
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
            "k": settings.k,
            "evaluate": settings.what(pairs=pairs),
            **({} if sample is None else {"full_sample": sample}),
        },
        rows.targets.users,
        dict(rows.slices),
        rows.pools,
        np.concatenate(logits),
        _ranks(backbone, tables, rows, progress, pairs) if settings.full else {},
    )


def _ranks(
    backbone: Any,
    tables: FeatureTables,
    rows: TestRows,
    progress: Callable[[int, int], None] | None,
    pairs: bool,
) -> dict[str, np.ndarray]:
    rank = _rank_pairs if pairs else _rank_grid
    ranked = rank(backbone, tables, rows, progress)
    return {
        "above": ranked.above,
        "ties": ranked.ties,
        "candidates": ranked.candidates,
    }


def _rank_pairs(
    backbone: Any,
    tables: FeatureTables,
    rows: TestRows,
    progress: Callable[[int, int], None] | None,
) -> FullRanking:
    targets, settings = rows.targets, rows.settings
    scorer = PairScorer(backbone, tables, rows.split.store.n_items)
    if settings.full_sample is not None:
        return sampled_ranking(
            scorer,
            targets,
            rows.split.seen,
            sample=settings.full_sample,
            seed=settings.seed,
            progress=progress,
        )
    return full_ranking(
        scorer,
        {"users": targets.users, "positions": targets.positions},
        targets.items,
        _seen(rows),
        progress=progress,
    )


def _rank_grid(
    backbone: Any,
    tables: FeatureTables,
    rows: TestRows,
    progress: Callable[[int, int], None] | None,
) -> FullRanking:
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

    return full_ranking(scorer, of_users, targets.items, _seen(rows), progress=progress)


def _seen(rows: TestRows) -> tuple[np.ndarray, np.ndarray]:
    events = rows.split.store.events
    offsets = events.offsets[1:]
    return events.values, offsets - offsets[0]
