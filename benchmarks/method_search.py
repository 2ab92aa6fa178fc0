"""The hyper-parameters of every method, searched equally on one domain's validation.

    python benchmarks/method_search.py --data runs/paper/data/beauty \\
        --work runs/search/beauty

For each method five trials on DCNv2: the first with the defaults, three chosen by
`sllmr tune`'s search, and one with the shared settings that were the best of `none`, the
method's own at their defaults; of `none`, which comes first, a fourth chosen one. What was the
best is then fixed for every backbone (`paper_grid.py`). Seed 0; the test split is not
read. Killed, it goes on.
"""

import argparse
import json
from pathlib import Path
from typing import Any

METHODS = ("none", "kd", "kar", "llm_cf", "pointwise", "global", "sllmr")
TRIALS, BEST = 5, 2

SHARED = {
    "learning_rate": {"low": 0.0003, "high": 0.005, "log": True},
    "backbone.hyperparameters.dnn_dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
}
GUIDED = {
    "selective.weight": {"low": 0.3, "high": 3.0, "log": True},
    "batch.guidance_users": {"choices": [1, 2, 4]},
}
OWN: dict[str, dict[str, Any]] = {
    "none": {},
    "kd": {
        "kd.weight": {"low": 0.03, "high": 1.0, "log": True},
        "kd.temperature": {"low": 0.25, "high": 4.0, "log": True},
    },
    "kar": {
        "kar.shared": {"choices": [2, 4]},
        "kar.dropout": {"low": 0.0, "high": 0.5, "step": 0.1},
    },
    "llm_cf": {"llm_cf.reconstruction": {"low": 0.1, "high": 3.0, "log": True}},
    "pointwise": GUIDED | {"selective.weight": {"low": 0.03, "high": 3.0, "log": True}},
    "global": GUIDED,
    "sllmr": GUIDED,
}


def search(method: Any, split: Any, data: Path, work: Path) -> dict[str, Any]:
    """The trials of a method, the best first."""
    from keras_sllmr.training.offline_inputs import needed, opened
    from keras_sllmr.training.search_space import value_of, with_values
    from keras_sllmr.training.settings import TrainSettings
    from keras_sllmr.training.trials import trial_rows
    from keras_sllmr.training.tuning import tune

    settings = TrainSettings(epochs=20, backbone={"name": "dcnv2"})
    names = needed(method, settings)
    inputs = opened({name: data / name for name in names}, split.store)
    space = {**SHARED, **OWN[method]}

    def tried(name: str, start: TrainSettings, trials: int) -> list[dict[str, Any]]:
        folder = work / name
        tables = inputs.tables
        study = tune(
            method, split, folder, settings=start, space=space, trials=trials, **tables
        ).study
        return trial_rows(study)

    if method == "none":
        rows = tried(method, settings, TRIALS)
    else:
        rows = tried(method, settings, TRIALS - 1)
        best_of_none = json.loads((work / "none.json").read_text())["best"][0]["values"]
        shared = {n: value for n, value in best_of_none.items() if n in SHARED}
        rows += tried(f"{method}_warm", with_values(settings, shared), 1)
    for number, row in enumerate(rows):
        row["trial"] = number
    done = [row for row in rows if row["state"] == "done"]
    done.sort(key=lambda row: -row["value"])
    found = [
        {
            "trial": row["trial"],
            "validation": row["value"],
            "epochs": row["epochs"],
            # What is not set is a default.
            "values": {
                name: value
                for name in space
                if (value := value_of(row["settings"], name)) is not None
            },
        }
        for row in done
    ]
    return {
        "method": method,
        "trials": len(rows),
        "best": found[:BEST],
        "others": found[BEST:],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, required=True, help="A grid's data/DOMAIN."
    )
    parser.add_argument(
        "--work", type=Path, required=True, help="Folder of the search."
    )
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    given = parser.parse_args()
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.split import LeaveOneOut

    split = LeaveOneOut(FeatureStore(given.data / "store"))
    for method in given.methods:
        found = search(method, split, given.data, given.work)
        given.work.mkdir(parents=True, exist_ok=True)
        path = given.work / f"{method}.json"
        path.write_text(json.dumps(found, indent=1))
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
