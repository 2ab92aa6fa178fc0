"""What validation costs: seconds of `SampledAUC` against those of a training epoch.

    python benchmarks/validation_cost.py --data FOLDER --json

FOLDER (or SLLMR_DATA) holds `interactions.parquet` and `items.parquet`. For each
backbone one `fit` of the plain method, as `sllmr train` runs it without text vectors,
is measured in rounds: some seconds of training steps, then a validation of all users.
Prints the seconds of a whole epoch at the median rate of those steps, the median seconds
of a validation, and their ratio; the first round, which traces, is left out and its
validation is given by itself.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from keras_sllmr.cli.console import err, out, print_json
from keras_sllmr.cli.quiet import start_tensorflow
from keras_sllmr.io.atomic import write_json

BACKBONES = ("deepfm", "xdeepfm", "autoint", "dcn", "dcnv2", "din")
LIMIT = 0.1
#: calls of the train function that a round leaves out: prefetched during the validation.
_SETTLE = 2


def measure(name: str, split: Any, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Figures of one backbone."""
    from keras_sllmr.backbones.features import FeatureSpec
    from keras_sllmr.compat import keras
    from keras_sllmr.training.callbacks.sampled_auc import SampledAUC
    from keras_sllmr.training.dataset import TrainingData
    from keras_sllmr.training.feature_tables import FeatureTables
    from keras_sllmr.training.settings import BackboneSettings, TrainSettings
    from keras_sllmr.training.train import build_model

    class Rounds(keras.callbacks.Callback):
        """Stops the steps of a round after a while; keeps the rate of each."""

        _supports_tf_logs = True  # or Keras would fetch the logs at every step

        def __init__(self) -> None:
            super().__init__()
            self.rates: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.calls: list[tuple[int, float]] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.calls.append((batch, time.perf_counter()))

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            (first, started), (last, ended) = self.calls[_SETTLE], self.calls[-1]
            self.rates.append((last - first) * data.rows / (ended - started))

    class Timed(keras.callbacks.Callback):
        """Times another callback's end of an epoch."""

        def __init__(self, timed: Any) -> None:
            super().__init__()
            self.timed = timed
            self.seconds: list[float] = []

        def set_model(self, model: Any) -> None:
            self.timed.set_model(model)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            started = time.perf_counter()
            self.timed.on_epoch_end(epoch, logs)
            self.seconds.append(time.perf_counter() - started)

    settings = TrainSettings(backbone=BackboneSettings(name=name, text=False))
    spec = FeatureSpec.of(split.store, history_length=settings.backbone.history_length)
    tables = FeatureTables(split, spec)
    model = build_model("none", spec, settings)
    data = TrainingData(split, tables, settings=settings.batch)
    dataset = data.dataset(blocks=())
    trained, validated = Rounds(), Timed(SampledAUC.of(split, tables))

    def fit(steps: int, epochs: int) -> Any:
        return model.fit(
            dataset,
            epochs=epochs,
            steps_per_epoch=steps,
            callbacks=[trained, validated],
            verbose=0,
        )

    call = 32 * (_SETTLE + 2)  # steps of the fewest calls that have a rate
    fit(call, 1)
    first = validated.seconds.pop()
    fit(call, 1)
    rate = trained.rates[-1]
    trained.rates.clear()
    validated.seconds.clear()
    steps = max(call, int(seconds * rate / data.rows))
    fit(min(steps, data.steps_per_epoch), rounds)
    epoch = data.steps_per_epoch * data.rows / statistics.median(trained.rates)
    cost = statistics.median(validated.seconds)
    return {
        "epoch_seconds": round(epoch, 3),
        "validation_seconds": round(cost, 3),
        "ratio": round(cost / epoch, 4),
        "first_validation_seconds": round(first, 3),
        "train_rows_per_second": round(statistics.median(trained.rates)),
        "validation_rows_per_second": round(2 * len(split.validation) / cost),
    }


def table(report: dict[str, Any], names: list[str]) -> Table:
    """The report for people."""
    shown = Table(title="Validation against a training epoch, seconds")
    shown.add_column("backbone")
    for head in ("epoch", "validation", "share", "first validation"):
        shown.add_column(head, justify="right")
    for name in names:
        row = report[name]
        shown.add_row(
            name,
            f"{row['epoch_seconds']:.2f}",
            f"{row['validation_seconds']:.2f}",
            f"{row['ratio']:.1%}",
            f"{row['first_validation_seconds']:.2f}",
        )
    shown.caption = f"A validation should take at most {LIMIT:.0%} of an epoch."
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data = os.environ.get("SLLMR_DATA")
    parser.add_argument("--data", type=Path, default=data, required=data is None)
    parser.add_argument(
        "--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES)
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="steps of a round")
    parser.add_argument("--out", type=Path, help="results file")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    start_tensorflow()
    from keras_sllmr.store.feature_store import FeatureStore
    from keras_sllmr.store.importers import read_tables
    from keras_sllmr.store.split import LeaveOneOut

    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore.create(Path(folder) / "store", read_tables(options.data))
    split = LeaveOneOut(store)
    report: dict[str, Any] = {}
    for name in options.backbones:
        report[name] = measure(
            name, split, rounds=options.rounds, seconds=options.seconds
        )
        err.print(f"{name}: {report[name]}")
    report["settings"] = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "cores": os.cpu_count(),
        "store": store.fingerprint,
        "validation_rows": 2 * len(split.validation),
    }
    if options.out is not None:
        write_json(options.out, report)
    if options.json:
        print_json(report)
    else:
        out.print(table(report, options.backbones))


if __name__ == "__main__":
    main()
