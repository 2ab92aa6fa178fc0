"""Latency of exports in a C++ process, loaded as TensorFlow Serving loads them.

    python benchmarks/serving_latency.py --json
    python benchmarks/serving_latency.py --data FOLDER --backbones deepfm din

FOLDER holds `interactions.parquet` and `items.parquet`; without it, MovieLens-100K out
of the `recbole` wheel. What is compared takes turns call by call in one process, in a
random order, so that a busy machine slows all of it alike; several such processes are
pooled. Prints milliseconds of a call of the session, p50 and p99:

- `overhead`: `serving_default` on 100 rows, of an untrained backbone and of the same
  one trained by each of `--methods`; `ratio` is theirs to its. `kar` and `llm_cf` read
  knowledge and examples, here random ones of a usual size, and so cost more.
- `rank`: one user with 100 and 1,000 candidates by `rank`, by `rank_dense`, and by
  `serving_default` on the same pairs (`rows`); `speedup` is that of `rows` to theirs.

A ratio's spread is that of the p50 in each process.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.table import Table

from keras_sllmr.cli.console import err, out, print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.io.atomic import write_json

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serving" / "cpp"))

#: trained sides: the method, and what its guidance has other than by default; those
#: from `kar` on add to the backbone.
RUNS: dict[str, tuple[Any, dict[str, Any]]] = {
    "none": ("none", {}),
    "sllmr": ("sllmr", {}),
    "pairwise": ("sllmr", {"regularizer": "pairwise"}),
    "global": ("global", {}),
    "pointwise": ("pointwise", {}),
    "kd": ("kd", {}),
    "kar": ("kar", {}),
    "llm_cf": ("llm_cf", {}),
}
ADDING = ("kar", "llm_cf")
#: length of random text vectors, as of MiniLM.
DIMENSION = 384
BACKBONES = ("deepfm", "xdeepfm", "autoint", "dcn", "dcnv2", "din")
Times = dict[str, list[np.ndarray]]


class Latency:
    """Makes calls by turns, in several processes one after the other.

    Args:
        options: `processes`, `repeat`, `warmup` and `threads`.
    """

    def __init__(self, options: Any) -> None:
        self._options = options

    def of(self, calls: Mapping[str, Any]) -> tuple[Times, dict[str, np.ndarray]]:
        """Milliseconds of each call, an array a process, and its logits."""
        from cpp_loader import serve

        options = self._options
        times: Times = {name: [] for name in calls}
        logits = {}
        for process in range(options.processes):
            # Which export is loaded first should not favour it.
            order = np.random.default_rng(process).permutation(list(calls))
            answers = serve(
                [calls[name] for name in order],
                repeat=options.repeat,
                warmup=options.warmup,
                threads=options.threads,
            ).answers
            for name, answer in zip(order, answers, strict=True):
                if answer.error:
                    raise RuntimeError(f"{name}: {answer.error}")
                times[name].append(answer.nanoseconds / 1e6)
                logits[name] = answer.outputs["logit"].ravel()
        return times, logits


def quantiles(times: list[np.ndarray]) -> dict[str, float]:
    """p50 and p99 of all processes together."""
    every = np.concatenate(times)
    return {f"p{n}": round(float(np.percentile(every, n)), 4) for n in (50, 99)}


def ratio(one: list[np.ndarray], other: list[np.ndarray]) -> dict[str, Any]:
    """Of the quantiles of one to those of the other; the spread of p50's."""
    first, second = quantiles(one), quantiles(other)
    each = [float(np.median(a) / np.median(b)) for a, b in zip(one, other, strict=True)]
    found: dict[str, Any] = {n: round(first[n] / second[n], 3) for n in first}
    return {**found, "spread": [round(min(each), 3), round(max(each), 3)]}


class Exports:
    """Exports of one store, and requests of its user with the longest history.

    Args:
        store: the feature store.
        folder: where the exports are written.
        history: int. Items of the history that a request carries, at most.
    """

    def __init__(self, store: Any, folder: Path, history: int) -> None:
        from keras_sllmr.backbones.features import FeatureSpec

        self.store, self.folder = store, folder
        self.spec = FeatureSpec.of(store)
        lists = (store.events.row(user) for user in range(1, store.n_users + 1))
        self.history = max(lists, key=len)[-history:]

    def write(
        self, name: str, backbone: Any, spec: Any = None, retrieval: Any = None
    ) -> Path:
        """Exports a backbone, by default of the store's plain features."""
        from keras_sllmr.serving.export import export_model

        return export_model(
            backbone,
            spec or self.spec,
            self.store,
            self.folder,
            name=name,
            dense_ids=True,
            retrieval=retrieval,
        )

    def rows(self, path: Path, candidates: int) -> Any:
        """The call of `serving_default`."""
        from cpp_loader import Call

        from keras_sllmr.serving.export import export_manifest

        ids = self.store.item_ids.astype(object)
        history = np.tile(ids[self.history], [candidates, 1])
        inputs = {"item_id": ids[self._candidates(candidates)], "history": history}
        if (
            "user_id"
            in export_manifest(path)["signatures"]["serving_default"]["inputs"]
        ):
            inputs["user_id"] = np.repeat(self.store.user_ids[[1]], candidates)
            inputs["user_id"] = inputs["user_id"].astype(object)
        return Call(path, "serving_default", inputs)

    def ranks(self, path: Path, candidates: int) -> dict[str, Any]:
        """The calls of `rank` and `rank_dense`."""
        from cpp_loader import Call

        ids = self.store.item_ids.astype(object)
        dense = {
            "candidates": self._candidates(candidates)[np.newaxis].astype(np.int32),
            "history": self.history[np.newaxis].astype(np.int32),
        }
        raw = {name: ids[indices] for name, indices in dense.items()}
        k = {"k": np.array([10], np.int32)}
        return {
            "rank": Call(path, "rank", raw | k),
            "rank_dense": Call(path, "rank_dense", dense | k),
        }

    def _candidates(self, number: int) -> np.ndarray:
        return np.random.default_rng(0).integers(1, self.store.n_items + 1, number)


def overhead(
    exports: Exports, latency: Latency, backbone: str, methods: Sequence[str]
) -> dict[str, Any]:
    """Each trained side's export against that of the backbone alone."""
    from keras_sllmr.backbones.registry import build_backbone

    plain = build_backbone(backbone, exports.spec)
    paths = {"backbone": exports.write("backbone", plain)}
    for name, trained in trained_sides(exports, backbone, methods):
        paths[name] = exports.write(
            name, trained.backbone, trained.spec, trained.retrieval
        )
    times, _ = latency.of({name: exports.rows(p, 100) for name, p in paths.items()})
    return {
        name: {**quantiles(found), "ratio": ratio(found, times["backbone"])}
        for name, found in times.items()
    }


def trained_sides(exports: Exports, backbone: str, methods: Sequence[str]) -> Any:
    """Yields a name and the model of some of `RUNS`, after one epoch."""
    from keras_sllmr.store.split import LeaveOneOut
    from keras_sllmr.training.settings import (
        BackboneSettings,
        SelectiveSettings,
        TrainSettings,
    )
    from keras_sllmr.training.train import train

    split, tables = LeaveOneOut(exports.store), random_tables(exports)
    for name in methods:
        method, guidance = RUNS[name]
        settings = TrainSettings(
            backbone=BackboneSettings(name=backbone, text=False),
            selective=SelectiveSettings(**guidance),
            epochs=1,
        )
        path = exports.folder / f"{name}-trained"
        yield name, train(method, split, path, settings=settings, **tables)


class RandomEncoder:
    """Text vectors that have nothing to do with the texts."""

    name = "random"

    def encode(self, texts: Sequence[str], progress: Any = None) -> np.ndarray:
        drawn = np.random.default_rng(0).normal(size=(len(texts), DIMENSION))
        return (drawn / np.sqrt(DIMENSION)).astype(np.float32)


def random_tables(exports: Exports) -> dict[str, Any]:
    """What any method trains with, its contents random."""
    from keras_sllmr.scoring.examples import make_examples
    from keras_sllmr.scoring.knowledge import make_knowledge
    from keras_sllmr.store.row_scores import RowScores
    from keras_sllmr.store.split import LeaveOneOut
    from keras_sllmr.store.text_vectors import TextVectors
    from keras_sllmr.store.training_rows import TrainingRows

    store, encoder = exports.store, RandomEncoder()
    split, at = LeaveOneOut(store), exports.folder / "tables"
    rows = TrainingRows(split)
    taught = np.random.default_rng(0).random(rows.items.shape)
    vectors = encoder.encode(list(store.item_texts))
    vectors[0] = 0
    text = TextVectors.create(at / "text", store, vectors, encoder=encoder.name)
    return {
        "scores": random_scores(exports),
        "text": text,
        "row_scores": RowScores.create(
            at / "row_scores", rows, taught, teacher={}, settings={}, cost={}
        ),
        "knowledge": make_knowledge(split, encoder, at / "knowledge"),
        "examples": make_examples(split, encoder, text, at / "examples"),
    }


def random_scores(exports: Exports) -> Any:
    """A score table of ten items a user."""
    from keras_sllmr.store.score_table import NEGATIVE, POSITIVE, UNKNOWN, ScoreTable

    store, rng = exports.store, np.random.default_rng(0)
    rows = [
        (user, item, rng.random(), "random", len(store.events.row(user)) - 2, label)
        for user in range(1, store.n_users + 1)
        for item, label in enumerate([UNKNOWN] * 8 + [POSITIVE, NEGATIVE], start=1)
    ]
    columns = ["user", "item", "score", "origin", "position", "label"]
    table = pd.DataFrame(rows, columns=columns)
    path = exports.folder / "scores"
    return ScoreTable.create(path, store, table, teacher={}, settings={}, cost={})


def ranking(
    exports: Exports, latency: Latency, backbone: str, candidates: int
) -> dict[str, Any]:
    """One user's candidates ranked together against row by row."""
    from full_ranking import random_model

    model = random_model(backbone, exports.spec)
    path = exports.write(f"{backbone}-{candidates}", model)
    calls = {"rows": exports.rows(path, candidates), **exports.ranks(path, candidates)}
    times, logits = latency.of(calls)
    report: dict[str, Any] = {name: quantiles(found) for name, found in times.items()}
    for name in ("rank", "rank_dense"):
        report[name]["speedup"] = ratio(times["rows"], times[name])
        difference = np.abs(logits[name] - logits["rows"]).max()
        report[name]["max_abs_diff"] = float(difference)
    return report


def stored(data: Path | None, users: int, folder: Path) -> Any:
    """A store of the whole catalogue and of the first users."""
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.importers import read_movielens, read_tables

    raw = read_movielens() if data is None else read_tables(data)
    every = raw.interactions
    kept = every["user"].isin(every["user"].unique()[:users])
    raw = replace(raw, interactions=every[kept].reset_index(drop=True))
    return FeatureStore.create(folder / "store", raw)


def table(report: Mapping[str, Any]) -> Table:
    """The report for people."""
    shown = Table(title="A call in C++, ms")
    for head in ("", "p50", "p99", "× p50", "× p99", "spread"):
        shown.add_column(head, justify="right" if head else "left")

    def add(name: str, row: Mapping[str, Any], to: Mapping[str, Any] | None) -> None:
        ratios = [] if to is None else [f"{to['p50']:.2f}", f"{to['p99']:.2f}"]
        spread = [] if to is None else ["{:.2f} to {:.2f}".format(*to["spread"])]
        cells = f"{row['p50']:.2f}", f"{row['p99']:.2f}"
        shown.add_row(name, *cells, *ratios, *spread)

    for name, row in report.get("overhead", {}).items():
        add(name, row, row["ratio"])
    for backbone, sizes in report["rank"].items():
        shown.add_section()
        for size, sides in sizes.items():
            for name, row in sides.items():
                add(f"{backbone} {size} {name}", row, row.get("speedup"))
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", type=Path, help="defaults to the embedded MovieLens-100K")
    add("--backbones", nargs="*", choices=BACKBONES, default=list(BACKBONES))
    add("--overhead-of", choices=(*BACKBONES, "none"), default="deepfm")
    usual = [name for name in RUNS if name not in ADDING]
    add("--methods", nargs="*", choices=RUNS, default=usual, help="to train")
    add("--candidates", nargs="+", type=int, default=[100, 1000])
    # More than the model reads would burden the rows most.
    add("--history", type=int, default=20, help="items of a request's history")
    add("--users", type=int, default=100, help="that training and the store have")
    add("--processes", type=int, default=3)
    add("--repeat", type=int, default=300, help="timed calls of each in a process")
    add("--warmup", type=int, default=30, help="calls of each before them")
    add("--threads", type=int, default=1, help="TensorFlow's; 0 lets it choose")
    add("--out", type=Path, help="results file")
    add("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    start_tensorflow()
    from cpp_loader import missing

    from keras_sllmr.compat import tf

    tf.get_logger().setLevel("ERROR")  # Each side is traced anew, as it has to be.
    if reason := missing():
        sys.exit(f"This needs the C++ loader: {reason}.")
    latency = Latency(options)
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = stored(options.data, options.users, folder)
        exports = Exports(store, folder, options.history)
        if options.overhead_of != "none":
            report["overhead"] = overhead(
                exports, latency, options.overhead_of, options.methods
            )
            err.print(f"overhead: {report['overhead']}", markup=False)
        report["rank"] = {name: {} for name in options.backbones}
        for name, sizes in report["rank"].items():
            for size in options.candidates:
                sizes[str(size)] = ranking(exports, latency, name, size)
            err.print(f"{name}: {sizes}", markup=False)
    names = (
        "overhead_of",
        "methods",
        "users",
        "processes",
        "repeat",
        "warmup",
        "threads",
    )
    report["settings"] = {name: getattr(options, name) for name in names}
    report["settings"] |= {
        "cores": os.cpu_count(),
        "store": store.fingerprint,
        "items": store.n_items,
        "history": len(exports.history),
    }
    if options.out is not None:
        write_json(options.out, report)
    if options.json:
        print_json(report)
    else:
        out.print(table(report))


if __name__ == "__main__":
    main()
