"""The evaluation job: every method on the same test rows, and their differences."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from keras_sllmr.backbones.features import ITEM_INPUTS, FeatureSpec
from keras_sllmr.errors import StoreError
from keras_sllmr.evaluation.auc import auc_sampled, log_loss
from keras_sllmr.evaluation.bootstrap import paired_bootstrap
from keras_sllmr.evaluation.full_ranking import full_ranking
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.evaluation.ranking_metrics import auc_full, ndcg_at, recall_at
from keras_sllmr.evaluation.slices import Slices, tail_rows
from keras_sllmr.io.atomic import replace_file
from keras_sllmr.settings import Settings
from keras_sllmr.store.draws import negatives
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.dataset import row_batches
from keras_sllmr.training.feature_tables import FeatureTables

_TEST = 501
_USERS_AT_ONCE = 256


class EvaluationSettings(Settings):
    """What is measured, and how surely.

    Args:
        cold_max_train: int. A cold user has at most this many training events.
        tail_share: float. Share of the catalogue in the long tail.
        k: int. Cut-off of NDCG and Recall.
        level: float. Of the confidence intervals.
        replicates: int. Bootstrap replicates.
        full: bool. Rank against the whole catalogue too?
        seed: int. Of the sampled negatives and the bootstrap.
    """

    cold_max_train: int = Field(3, ge=0)
    tail_share: float = Field(0.2, gt=0, lt=1)
    k: int = Field(10, ge=1)
    level: float = Field(0.95, gt=0, lt=1)
    replicates: int = Field(1000, ge=1)
    full: bool = True
    seed: int = 0


class TestRows:
    """The test split's rows, the same for every method.

    Args:
        split: the store's split.
        settings: defaults to `EvaluationSettings()`.

    Raises:
        DataError: when a slice is empty.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    def __init__(
        self, split: LeaveOneOut, settings: EvaluationSettings | None = None
    ) -> None:
        self.split = split
        self.settings = settings or EvaluationSettings()
        self.targets = split.test
        self.negatives = negatives(
            self.targets.users,
            split.seen,
            self.settings.seed,
            _TEST,
            self.targets.users,
        )
        self.slices = Slices(
            users=self.targets.users,
            positives=self.targets.items,
            user_train_counts=split.train_lengths,
            item_train_counts=split.train_counts,
            cold_max_train=self.settings.cold_max_train,
            tail_share=self.settings.tail_share,
        )
        #: one entry a sampled row: the positives, then their negatives.
        self.users = np.tile(self.targets.users, 2)
        self.items = np.concatenate([self.targets.items, self.negatives])
        self.labels = np.repeat([1, 0], len(self.targets))

    def pools(self) -> dict[str, np.ndarray]:
        """The slices as masks over the sampled rows, and `tail_rows`."""
        pools = {name: np.tile(mask, 2) for name, mask in self.slices.items()}
        pools["tail_rows"] = tail_rows(self.items, self.slices.tail_items)
        return pools

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows and users of each slice."""
        test = {name: self.targets.users[mask] for name, mask in self.slices.items()}
        users = {**test, "tail_rows": self.users[self.pools()["tail_rows"]]}
        return {
            name: {"rows": len(rows), "users": len(np.unique(rows))}
            for name, rows in users.items()
        }


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
    tables = FeatureTables(rows.split, spec)
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
    used = [name for name in tables.names if name in backbone.input]
    item_inputs = [name for name in used if name in ITEM_INPUTS]

    def features(users: Any, positions: Any, items: Any) -> dict[str, np.ndarray]:
        gathered = tables.features(users, positions, items)
        return {name: gathered[name].numpy() for name in used}

    scorer = GridScorer(backbone, item_inputs=item_inputs)
    catalogue = np.arange(1, store.n_items + 1)
    nobody = np.zeros_like(catalogue)
    of_items = features(nobody, nobody, catalogue)
    scorer.set_items({name: of_items[name] for name in item_inputs})

    def of_users(chunk: np.ndarray) -> dict[str, np.ndarray]:
        gathered = features(
            targets.users[chunk], targets.positions[chunk], targets.items[chunk]
        )
        return {n: value for n, value in gathered.items() if n not in item_inputs}

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


def summarise(
    rows: TestRows,
    values: Mapping[str, Mapping[str, np.ndarray]],
    *,
    labels: Mapping[str, str],
    baseline: str = "none",
) -> dict[str, Any]:
    """Metrics of every method on every slice, and differences to the baseline.

    Args:
        rows: the test rows.
        values: per-row values by method, from `score_method`.
        labels: what to call each method.
        baseline: method that the others are compared with, when it is there.

    Returns:
        `slices`, `methods` and `differences`, as plain values.
    """
    methods = {
        name: {"label": labels.get(name, name), **_metrics(rows, of_method)}
        for name, of_method in values.items()
    }
    differences = [
        difference
        for name in values
        if name != baseline and baseline in values
        for difference in _differences(rows, values[name], values[baseline], name)
    ]
    for difference in differences:
        difference["baseline"] = baseline
    return {"slices": rows.counts(), "methods": methods, "differences": differences}


def _per_row(rows: TestRows, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Metrics that have a value a test row."""
    if "above" not in values:
        return {}
    above, ties, k = values["above"], values["ties"], rows.settings.k
    return {
        "auc_full": auc_full(above, ties, values["candidates"]),
        f"ndcg@{k}": ndcg_at(above, ties, k=k),
        f"recall@{k}": recall_at(above, ties, k=k),
    }


def _metrics(rows: TestRows, values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    logits = values["logits"]
    pools = rows.pools()
    metrics: dict[str, dict[str, float]] = {
        "auc_sampled": {
            name: auc_sampled(rows.labels[mask], logits[mask])
            for name, mask in pools.items()
        },
        "log_loss": {
            name: log_loss(rows.labels[mask], logits[mask])
            for name, mask in pools.items()
        },
    }
    for metric, per_row in _per_row(rows, values).items():
        figures = rows.slices.means(per_row)
        metrics[metric] = {name: figure.value for name, figure in figures.items()}
    return metrics


def _differences(
    rows: TestRows,
    values: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray],
    method: str,
) -> list[dict[str, Any]]:
    settings = rows.settings
    options: dict[str, Any] = {
        "level": settings.level,
        "replicates": settings.replicates,
        "seed": settings.seed,
    }
    found = []

    def add(
        metric: str, name: str, mask: np.ndarray, *arrays: Any, **more: Any
    ) -> None:
        users, ours, theirs = (array[mask] for array in arrays)
        result = paired_bootstrap(users, ours, theirs, **more, **options)
        found.append(
            {
                "metric": metric,
                "slice": name,
                "method": method,
                "baseline": "",
                "difference": result.difference,
                "low": result.low,
                "high": result.high,
                "level": result.level,
                "users": result.users,
            }
        )

    for name, mask in rows.pools().items():
        add(
            "auc_sampled",
            name,
            mask,
            rows.users,
            values["logits"],
            baseline["logits"],
            labels=rows.labels[mask],
        )
    ours, theirs = _per_row(rows, values), _per_row(rows, baseline)
    for metric in ours.keys() & theirs.keys():
        for name, mask in rows.slices.items():
            add(metric, name, mask, rows.targets.users, ours[metric], theirs[metric])
    order = {metric: place for place, metric in enumerate(["auc_sampled", *ours])}
    return sorted(found, key=lambda row: order[row["metric"]])
