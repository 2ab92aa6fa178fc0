"""Cost of a training row as the catalogue grows, the users and their events alike.

    python benchmarks/catalogue_growth.py --json --plot growth.svg

Makes stores of synthetic ids with 10⁴, 10⁵ and 10⁶ items: the same number of users with
as many events each, items drawn by Zipf's law, two attributes an item of a vocabulary
that grows along. On each, DeepCTR's stock `fit`, ours plain and ours with S-LLMR train;
all nine take turns as in `train_throughput`. A step that sweeps a whole table grows with
the catalogue; one that does not grows with the table rows that a batch holds, which are
counted beside it, and with how many of them the processor's caches miss. Needs 12 GB of
memory.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from alternating import SIDES, alternate, summarised
from measurements import parser, settings_of
from rich.table import Table

from keras_sllmr.cli.console import out, print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.io.atomic import replace_file, write_json
from keras_sllmr.store.raw import RawData

LABELS = {"deepctr": "DeepCTR's stock fit", "plain": "plain", "sllmr": "S-LLMR"}


class Zipf:
    """Draws from 0 to size − 1, the n-th most frequent ∝ n^−exponent, in any order."""

    def __init__(self, size: int, exponent: float, rng: np.random.Generator) -> None:
        self._mass = np.cumsum(np.arange(1, size + 1) ** -exponent)
        self._values, self._rng = rng.permutation(size), rng

    def draw(self, shape: Any) -> np.ndarray:
        drawn = self._rng.uniform(0, self._mass[-1], shape)
        values: np.ndarray = self._values[np.searchsorted(self._mass, drawn)]
        return values


def synthetic(
    n_items: int, *, users: int, events: int, zipf: float = 1.0, seed: int = 0
) -> RawData:
    """Users with as many different items each, items with up to two attributes each.

    Args:
        n_items: int. All are in the catalogue, drawn or not.
        users: int.
        events: int. Of each user.
        zipf: float. Exponent of the items' and the attributes' frequencies; 0 draws
            uniformly.
        seed: int.
    """
    rng = np.random.default_rng(seed)
    popular = Zipf(n_items, zipf, rng)
    drawn: list[np.ndarray] = []
    while len(drawn) < users:
        different = list(dict.fromkeys(popular.draw(4 * events).tolist()))
        if len(different) >= events:
            drawn.append(np.array(different[:events]))
    ids = np.array([f"i{number:08d}" for number in range(n_items)], object)
    interactions = pd.DataFrame(
        {
            "user": np.repeat([f"u{number:08d}" for number in range(users)], events),
            "item": ids[np.concatenate(drawn)],
            "order": np.tile(np.arange(events), users),
        }
    )
    names = [f"a={number:07d}" for number in range(max(2, n_items // 10))]
    pairs = Zipf(len(names), zipf, rng).draw((n_items, 2)).tolist()
    attributes = [[names[number] for number in {*pair}] for pair in pairs]
    items = pd.DataFrame({"item": ids, "text": "", "attributes": attributes})
    return RawData(interactions, items, {"kind": "synthetic"}, {}, {})


def prepare(folder: Path, n_items: int, **shape: Any) -> dict[str, str]:
    """Paths of the store and of a table of random scores, made unless there."""
    from keras_sllmr.scoring.candidates import CandidateSettings
    from keras_sllmr.scoring.sampler import CandidateSampler
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.score_table import ScoreTable
    from keras_sllmr.store.split import LeaveOneOut

    name = "-".join(f"{key}-{value}" for key, value in shape.items())
    store_path = folder / f"items-{n_items}-{name}"
    scores = store_path.with_name(f"{store_path.name}-scores")
    paths = {"store": str(store_path), "scores": str(scores)}
    if scores.exists():
        return paths
    raw = synthetic(n_items, **shape)
    store = FeatureStore.create(store_path, raw)
    settings = CandidateSettings(near=0, tail=2, tail_near=0, uniform=15)
    sampler = CandidateSampler(LeaveOneOut(store), settings)
    rng = np.random.default_rng(0)
    rows = [
        part.frame(rng.uniform(size=part.items.shape))
        for part in sampler.draw(np.arange(1, store.n_users + 1))
    ]
    ScoreTable.create(
        scores,
        store,
        pd.concat(rows, ignore_index=True),
        teacher={"name": "random"},
        settings={},
        cost={},
    )
    return paths


def distinct_rows(store: str, *, batch: int, batches: int = 100) -> int:
    """Mean number of different items and attributes in a batch: table rows to update."""
    from deepctr_models import labelled_rows

    from keras_sllmr.backbones.features import FeatureSpec
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.split import LeaveOneOut

    split = LeaveOneOut(FeatureStore(store))
    rows, _ = labelled_rows("deepfm", split, FeatureSpec.of(split.store), batch=batch)
    counts = []
    for start in range(0, min(batches * batch, len(rows["item"])), batch):
        part = {key: value[start : start + batch] for key, value in rows.items()}
        items = np.union1d(part["item"], part["history"])
        attributes = np.union1d(part["item_attributes"], part["history_attributes"])
        counts.append(len(items) + len(attributes))
    return round(float(np.mean(counts)))


def costs(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Microseconds a labelled row, by side and catalogue; the largest ÷ the smallest."""
    found = {}
    sizes = sorted(results, key=int)
    for side in SIDES:
        micros = {size: 1e6 / results[size][side] for size in sizes}
        growth = micros[sizes[-1]] / micros[sizes[0]]
        found[side] = {size: round(value, 1) for size, value in micros.items()}
        found[side]["growth"] = round(growth, 2)
    return {"microseconds_a_row": found}


def plot(report: dict[str, Any], sizes: list[str], path: Path) -> None:
    """The curves, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for side, marker in zip(SIDES, "s^o", strict=True):
        values = [report["microseconds_a_row"][side][size] for size in sizes]
        axes.loglog([int(size) for size in sizes], values, marker=marker)
        axes.annotate(
            LABELS[side],
            (int(sizes[-1]), values[-1]),
            xytext=(0, 7),
            textcoords="offset points",
            ha="right",
        )
    axes.set(xlabel="items in the catalogue", ylabel="microseconds a labelled row")
    axes.margins(y=0.15)
    axes.grid(alpha=0.3)
    with replace_file(path) as beside:
        figure.savefig(beside, format=path.suffix[1:] or "svg")


def table(report: dict[str, Any], sizes: list[str]) -> Table:
    """The report for people."""
    shown = Table(title="Microseconds a labelled row, by items in the catalogue")
    shown.add_column("")
    for head in [*(f"{int(size):,}" for size in sizes), "growth"]:
        shown.add_column(head, justify="right")
    for side, row in report["microseconds_a_row"].items():
        cells = [f"{row[size]:,}" for size in sizes]
        shown.add_row(LABELS[side], *cells, f"{row['growth']}×")
    counts = [report[size]["distinct_rows_a_batch"] for size in sizes]
    cells = [f"{count:,}" for count in counts]
    shown.add_row("table rows a batch", *cells, f"{counts[-1] / counts[0]:.2f}×")
    return shown


def main() -> None:
    arguments = parser(__doc__, work="runs/benchmarks/growth", rounds=3)
    add = arguments.add_argument
    add("--catalogue", nargs="+", type=int, default=[10_000, 100_000, 1_000_000])
    add("--backbone", default="deepfm")
    add("--users", type=int, default=5_000)
    add("--events", type=int, default=12, help="events of each user")
    add("--zipf", type=float, default=1.0, help="exponent; 0 draws uniformly")
    add("--plot", type=Path, help="file of the plot, .svg or .png")
    options = arguments.parse_args()
    if min(options.catalogue) < 10 * options.events:
        arguments.error("--catalogue must be at least ten times --events")
    start_tensorflow()
    shape = {name: getattr(options, name) for name in ("users", "events", "zipf")}
    settings = settings_of(options, backbone=options.backbone, **shape)
    sizes = [str(size) for size in sorted(options.catalogue)]
    workers: dict[str, dict[str, Any]] = {}
    distinct = {}
    for size in sizes:
        paths = prepare(options.work, int(size), **shape)
        distinct[size] = distinct_rows(paths["store"], batch=options.batch)
        shared = {**settings, **paths}
        workers |= {f"{size} {side}": {**shared, "side": side} for side in SIDES}
    measured = alternate(workers, rounds=options.rounds, seconds=options.seconds)
    results = {
        size: summarised({side: measured[f"{size} {side}"] for side in SIDES})
        for size in sizes
    }
    for size in sizes:
        results[size]["distinct_rows_a_batch"] = distinct[size]
    report = {**results, **costs(results), "settings": settings}
    if options.out:
        write_json(options.out, report)
    if options.plot:
        plot(report, sizes, options.plot)
    if options.json:
        print_json(report)
    else:
        out.print(table(report, sizes))


if __name__ == "__main__":
    main()
