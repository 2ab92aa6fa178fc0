"""Labelled rows a second in training: DeepCTR's stock `fit`, ours plain, with S-LLMR.

    python benchmarks/train_throughput.py --data FOLDER --json

FOLDER (or SLLMR_DATA) holds `interactions.parquet` and `items.parquet`. For each
backbone three processes train on the same rows, with the same fields, dimensions,
hidden units and dropout, and take turns in windows of a few seconds:

- `deepctr`: DeepCTR's own model with stock Adam and its own regularisation, by `fit` on
  a dict of NumPy arrays;
- `plain`: ours without the LLM, as `sllmr train` trains it;
- `sllmr`: ours with the LLM's guidance at its default settings.

Prints the median rows a second and the peak memory of each process, and the ratios.
Stores and scores are made once, in the folder `--work`; backbones that the file `--out`
holds already are not measured again. For figures of one core, start it under
`taskset -c 0`.
"""

import os
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from alternating import SIDES, alternate, summarised
from measurements import measure_each, parser, settings_of
from rich.table import Table

from keras_sllmr.cli.config import RunConfig, load_config
from keras_sllmr.cli.console import out, print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.io.hashing import fingerprint

BACKBONES = ("deepfm", "xdeepfm", "autoint", "dcn", "dcnv2", "din")
PIPELINE = Path(__file__).parents[1] / "pipelines" / "beauty.yaml"


def prepare(config: RunConfig, work: Path) -> dict[str, str]:
    """Paths of the store and its score table, made unless they are there."""
    from keras_sllmr.cli import stages
    from keras_sllmr.cli.score_stage import ScoreStage
    from keras_sllmr.scoring.candidates import CandidateSettings
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.score_table import ScoreTable
    from keras_sllmr.store.split import LeaveOneOut
    from keras_sllmr.store.text_vectors import TextVectors

    folder = work / fingerprint(stages.source_hashes(config.data))[:12]
    candidates = CandidateSettings(**config.score.candidates).model_dump()
    how = fingerprint([config.score.model_dump(mode="json"), candidates])[:12]
    scores = folder / f"scores-{how}"
    if not (folder / "store").exists():
        stages.import_store(config.data, folder / "store")
    store = FeatureStore(folder / "store")
    if not scores.exists():
        if not (folder / "text").exists():
            stages.encode_items(store, folder / "text")
        text = TextVectors(folder / "text", store)
        ScoreStage(LeaveOneOut(store), text, config.score, config.seed).score(scores)
    ScoreTable(scores, store)  # Fails here, and by name, if it is another store's.
    return {"store": str(folder / "store"), "scores": str(scores)}


def ratios(results: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Ratios of the medians for each backbone, and their geometric means."""
    both = {
        "plain_over_deepctr": ("plain", "deepctr"),
        "sllmr_epoch_over_plain": ("plain", "sllmr"),
    }
    found = {}
    for title, (above, below) in both.items():
        values = {name: row[above] / row[below] for name, row in results.items()}
        values["geometric_mean"] = geometric_mean(values.values())
        found[title] = {name: round(value, 2) for name, value in values.items()}
    return {"ratios": found}


def table(report: dict[str, Any], names: list[str]) -> Table:
    """The report for people."""
    shown = Table(title="Labelled rows a second, thousands (lowest to highest)")
    heads = ("DeepCTR", "plain", "S-LLMR", "speed-up", "epoch", "peak MB")
    shown.add_column("backbone")
    for head in heads:
        shown.add_column(head, justify="right")
    faster, slower = report["ratios"].values()
    for name in names:
        row = report[name]
        rates = [
            "{:.1f}\n{:.1f}–{:.1f}".format(
                *(rate / 1000 for rate in (row[side], *row["spread"][side]))
            )
            for side in SIDES
        ]
        peaks = "\n".join(f"{row['peak_mb'][side]:,}" for side in SIDES)
        shown.add_row(name, *rates, f"{faster[name]}×", f"{slower[name]}×", peaks)
    means = [f"{part['geometric_mean']}×" for part in (faster, slower)]
    shown.add_row("geometric mean", "", "", "", *means, "")
    shown.caption = (
        "speed-up: plain ÷ DeepCTR; epoch: time with S-LLMR ÷ plain; peak MB: one line "
        "a side"
    )
    return shown


def main() -> None:
    arguments = parser(__doc__, work="runs/benchmarks", rounds=5)
    data = os.environ.get("SLLMR_DATA")
    arguments.add_argument("--data", type=Path, default=data, required=data is None)
    arguments.add_argument(
        "--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES)
    )
    options = arguments.parse_args()
    start_tensorflow()
    paths = prepare(load_config(PIPELINE, data=Path(options.data)), options.work)
    settings = settings_of(options, store=Path(paths["store"]).parent.name)

    def measure(name: str) -> dict[str, Any]:
        shared = {**settings, **paths, "backbone": name}
        workers = {side: {**shared, "side": side} for side in SIDES}
        return summarised(
            alternate(workers, rounds=options.rounds, seconds=options.seconds)
        )

    report = measure_each(
        options.backbones, measure, ratios, settings=settings, out=options.out
    )
    if options.json:
        print_json(report)
    else:
        out.print(table(report, options.backbones))


if __name__ == "__main__":
    main()
