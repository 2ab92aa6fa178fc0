"""Pairs per second of the exact full ranking, against `model.predict` on rows.

    python benchmarks/full_ranking.py --data FOLDER --json

FOLDER holds `interactions.parquet` and `items.parquet`. Both sides run in this process,
one after the other, on the same untrained model: weights do not change the work. Prints,
for each backbone, pairs per second of `predict` on materialised rows and of
`GridScorer`, their ratio, and the largest difference of the scores.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from keras_sllmr.backbones.features import ITEM_INPUTS, FeatureSpec
from keras_sllmr.backbones.registry import BACKBONES, build_backbone
from keras_sllmr.evaluation.grid_scorer import GridScorer
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.importers import read_tables
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.feature_tables import FeatureTables


def measure(name: str, split: LeaveOneOut, *, users: int, rows: int) -> dict:
    store = split.store
    spec = FeatureSpec.of(store)
    model = build_backbone(name, spec)
    tables = FeatureTables(split, spec)
    targets = split.test

    def features(user: np.ndarray, item: np.ndarray) -> dict:
        position = split.lengths[user] - 1
        gathered = tables.features(user, position, item)
        return {name: value.numpy() for name, value in gathered.items()}

    catalogue = np.arange(1, store.n_items + 1)
    of_items = features(np.zeros_like(catalogue), catalogue)
    of_users = features(targets.users[:users], targets.items[:users])
    scorer = GridScorer(model, item_inputs=[n for n in ITEM_INPUTS if n in of_items])
    item_side = {n: v for n, v in of_items.items() if n in ITEM_INPUTS}
    user_side = {n: v for n, v in of_users.items() if n not in ITEM_INPUTS}
    scorer.set_items(item_side)
    scorer.score({n: v[:32] for n, v in user_side.items()})  # traces
    started = time.perf_counter()
    scorer.set_items(item_side)
    grid = scorer.score(user_side)
    ours = grid.size / (time.perf_counter() - started)

    user = np.repeat(targets.users[:users], store.n_items)[:rows]
    item = np.tile(catalogue, users)[:rows]
    on_rows = features(user, item)
    model.predict({n: v[:4096] for n, v in on_rows.items()}, 4096, verbose=0)
    started = time.perf_counter()
    predicted = model.predict(on_rows, batch_size=4096, verbose=0)[:, 0]
    predict = rows / (time.perf_counter() - started)
    return {
        "predict": round(predict),
        "ours": round(ours),
        "ratio": round(ours / predict, 1),
        "max_abs_diff": float(np.abs(grid.ravel()[:rows] - predicted).max()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--users", type=int, default=512, help="users ranked by ours")
    parser.add_argument("--rows", type=int, default=200_000, help="rows for predict")
    parser.add_argument("--backbones", nargs="*", default=sorted(BACKBONES))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(Path(folder) / "store", read_tables(options.data))
    split = LeaveOneOut(store)
    results = {}
    for name in options.backbones:
        results[name] = measure(name, split, users=options.users, rows=options.rows)
        if not options.json:
            print(name, results[name])
    if options.json:
        json.dump(results, sys.stdout, indent=2)
        print()


if __name__ == "__main__":
    main()
