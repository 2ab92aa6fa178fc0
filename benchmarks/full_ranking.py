"""Pairs per second of the exact full ranking, against `model.predict` on rows.

    python benchmarks/full_ranking.py --data FOLDER --json
    python benchmarks/full_ranking.py --data FOLDER --full deepfm dcnv2

FOLDER holds `interactions.parquet` and `items.parquet`. Both sides run in this process
and take turns, so that a busy machine slows both alike, on the same model with random
weights that give logits of order 1. Prints, for each backbone, the median pairs per
second of `predict` on materialised rows and of `GridScorer`, their ratio, the largest
logit and the largest difference of the logits. With `--full`, instead, the minutes that
the complete ranking of the data takes, seen items left out.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.evaluation.full_ranking import full_ranking
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.importers import read_tables
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables

# Pairs of a window. What users share pays with their number, but not with the items'.
_PAIRS = 12_000_000


class Ranking:
    """One backbone, its scorer and the features of the data.

    Args:
        name: str. The backbone.
        split: the data.
        sizes: of the scorer's chunks and blocks; see `GridScorer`.
    """

    def __init__(self, name: str, split: LeaveOneOut, **sizes: int) -> None:
        store, self.targets = split.store, split.test
        spec = FeatureSpec.of(store)
        self.model = random_model(name, spec)
        self.tables = FeatureTables(split, spec)
        every = self.tables.item_features(np.arange(1, store.n_items + 1))
        self.items = {n: every[n].numpy() for n in spec.item_inputs}
        self.scorer = GridScorer(self.model, item_inputs=spec.item_inputs, **sizes)
        self.scorer.set_items(self.items)
        self.scorer.score(self.users(np.arange(32)))  # traces

    def users(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Features of the users of test rows."""
        of_rows = self.targets.users[rows], self.targets.positions[rows]
        found = self.tables.user_features(*of_rows)
        return {
            n: x.numpy()
            for n, x in found.items()
            if n in self.model.input and n not in self.items
        }


def random_model(name: str, spec: FeatureSpec) -> Any:
    """A backbone with logits of order 1."""
    model = build_backbone(name, spec, embedding_stddev=0.3)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.shape.rank < 2 and "variance" not in weight.name:
            weight.assign(rng.normal(0, 0.1, weight.shape))
    kernel = model.get_layer("dnn_logit").kernel
    kernel.assign(3.0 * kernel)
    return model


def measure(
    name: str, split: LeaveOneOut, *, rows: int, rounds: int, **sizes: int
) -> dict[str, Any]:
    """Pairs per second of both ways, which take turns.

    A window of ours is a chunk of users by as many blocks of items as make it long
    enough.
    """
    ranking = Ranking(name, split, **sizes)
    scorer, model = ranking.scorer, ranking.model
    of_users = ranking.users(np.arange(min(scorer.user_chunk, len(split.test.users))))
    blocks = -(-_PAIRS // (scorer.user_chunk * scorer.item_block))
    of_items = {n: x[: blocks * scorer.item_block] for n, x in ranking.items.items()}
    user, item = np.divmod(np.arange(rows), len(of_items["item"]))
    on_rows = {n: x[user] for n, x in of_users.items()}
    on_rows |= {n: x[item] for n, x in of_items.items()}

    def grid() -> np.ndarray:
        scorer.set_items(of_items)
        return scorer.score(of_users)

    def predicted() -> np.ndarray:
        return model.predict(on_rows, batch_size=4096, verbose=0)[:, 0]

    model.predict({n: x[:4096] for n, x in on_rows.items()}, 4096, verbose=0)
    rates: dict[str, list[float]] = {"ours": [], "predict": []}
    for _ in range(rounds):
        scores, rate = _timed(grid)
        rates["ours"].append(rate)
        expected, rate = _timed(predicted)
        rates["predict"].append(rate)
    ours, predict = (statistics.median(rates[side]) for side in ("ours", "predict"))
    return {
        "predict": round(predict),
        "ours": round(ours),
        "ratio": round(ours / predict, 1),
        "users": scores.shape[0],
        "items": scores.shape[1],
        "max_abs_logit": float(np.abs(expected).max()),
        "max_abs_diff": float(np.abs(scores.ravel()[:rows] - expected).max()),
    }


def _timed(run: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    started = time.perf_counter()
    result = run()
    return result, result.size / (time.perf_counter() - started)


def rank_all(name: str, split: LeaveOneOut, **sizes: int) -> dict[str, Any]:
    """Minutes of the complete ranking, the items' own share counted."""
    ranking = Ranking(name, split, **sizes)
    store, targets = split.store, split.test
    started = time.perf_counter()
    ranking.scorer.set_items(ranking.items)
    counts = full_ranking(
        ranking.scorer, ranking.users, targets.items, _seen(store, targets.users)
    )
    minutes = (time.perf_counter() - started) / 60
    pairs = len(targets.users) * store.n_items
    return {
        "minutes": round(minutes, 2),
        "pairs": pairs,
        "candidates": int(counts.candidates.sum()),
        "ours": round(pairs / minutes / 60),
    }


def _seen(store: FeatureStore, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    events = store.events
    starts, ends = events.offsets[users], events.offsets[users + 1]
    lists = [events.values[start:end] for start, end in zip(starts, ends, strict=True)]
    return np.concatenate(lists), np.cumsum([0, *(ends - starts)])


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--rows", type=int, default=200_000, help="rows for predict")
    add("--rounds", type=int, default=3, help="turns of each side")
    add("--backbones", nargs="*", default=sorted(BACKBONES))
    add("--full", nargs="+", metavar="NAME", help="rank all users of these backbones")
    for name in ("user-chunk", "item-block", "pairs-at-once"):
        add(f"--{name}", type=int, help="see GridScorer")
    add("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(Path(folder) / "store", read_tables(options.data))
    split = LeaveOneOut(store)
    sizes = {
        name: getattr(options, name)
        for name in ("user_chunk", "item_block", "pairs_at_once")
        if getattr(options, name) is not None
    }
    results = {}
    for name in options.full or options.backbones:
        if options.full:
            results[name] = rank_all(name, split, **sizes)
        else:
            results[name] = measure(
                name, split, rows=options.rows, rounds=options.rounds, **sizes
            )
        if not options.json:
            print(name, results[name], flush=True)
    if options.json:
        json.dump(results, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
