"""What the LLM's guidance and its gate are worth, on the test split.

    python benchmarks/guidance_study.py transfer --data FOLDER --work FOLDER
    python benchmarks/guidance_study.py selectivity --data FOLDER --work FOLDER

FOLDER of `--data` holds `interactions.parquet` and `items.parquet`. `transfer` trains
DeepFM and DCNv2 with and without guidance. `selectivity` trains one backbone with the
gate and with α ≡ 1, on the real teacher, on one whose scores are shuffled everywhere, and
on one whose scores are shuffled for users with at least eight training events. Each
cell's figures are a file of `--work` as soon as it is done; a killed study goes on. All
settings are the package's defaults, chosen on the validation split.
"""

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_sllmr.cli.config import ImportConfig, ScoreConfig
from keras_sllmr.cli.score_stage import ScoreStage
from keras_sllmr.cli.stages import encode_items, import_store
from keras_sllmr.evaluation.auc import auc_sampled
from keras_sllmr.evaluation.bootstrap import paired_bootstrap
from keras_sllmr.evaluation.evaluate import evaluate_model
from keras_sllmr.evaluation.heldout import EvaluationSettings, TestRows
from keras_sllmr.evaluation.result import Result
from keras_sllmr.io.atomic import read_json, write_json
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.score_table import ScoreTable
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors
from keras_sllmr.training.settings import TrainSettings
from keras_sllmr.training.train import train

REGION = 8
TEACHERS: dict[str, int | None] = {"real": None, "shuffled": 0, "region": REGION}
GUIDED: dict[str, dict[str, Any]] = {
    "gate": {},
    "global": {"gate_objective": "fixed"},
    "hinge gate": {"regularizer": "pairwise"},
    "hinge global": {"regularizer": "pairwise", "gate_objective": "fixed"},
}


@dataclass(frozen=True)
class Cell:
    """One training run."""

    backbone: str
    seed: int
    guided: str = ""
    teacher: str = ""
    selective: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        parts = (self.backbone, str(self.seed), self.guided or "none", self.teacher)
        return "-".join(part.replace(" ", "_") for part in parts if part)


def cells_of(
    study: str,
    backbones: list[str],
    seeds: int,
    teachers: list[str],
    guided: list[str],
) -> list[Cell]:
    """The runs of a study; the ones without guidance come first."""
    every = [(b, s) for s in range(seeds) for b in backbones]
    plain = [Cell(b, s) for b, s in every]
    if study == "transfer":
        return plain + [Cell(b, s, "gate", "real") for b, s in every]
    return plain + [
        Cell(b, s, name, teacher, {**GUIDED[name], "shuffled_from": TEACHERS[teacher]})
        for b, s in every
        for teacher in teachers
        for name in guided
    ]


class Bench:
    """Store, vectors and scores of a data folder, made once, and the cells' runs."""

    def __init__(self, data: Path, work: Path, epochs: int) -> None:
        self.work, self.epochs = work, epochs
        store = work / "store"
        if not (store / "manifest.json").exists():
            import_store(ImportConfig(format="tables", path=data), store)
        self.split = LeaveOneOut(FeatureStore(store))
        if not (work / "text" / "manifest.json").exists():
            encode_items(self.split.store, work / "text")
        self.text = TextVectors(work / "text", self.split.store)
        if not (work / "scores" / "manifest.json").exists():
            ScoreStage(self.split, self.text, ScoreConfig(), seed=0).score(
                work / "scores"
            )
        self.scores = ScoreTable(work / "scores", self.split.store)
        self.rows = TestRows(self.split, EvaluationSettings(full=False))
        warm = self.split.train_lengths[self.rows.targets.users] >= REGION
        self.slices = {**self.rows.slices, f"n >= {REGION}": warm}

    def run(self, cell: Cell) -> dict[str, Any]:
        """A cell's figures; trained unless its file is there."""
        path = self.work / "cells" / f"{cell.name}.json"
        if path.exists():
            return read_json(path)
        trained = train(
            "sllmr" if cell.guided else "none",
            self.split,
            self.work / "models" / cell.name,
            settings=TrainSettings(
                seed=cell.seed,
                epochs=self.epochs,
                backbone={"name": cell.backbone},
                selective=cell.selective,
            ),
            scores=self.scores_of(cell),
            text=self.text,
        )
        result = evaluate_model(trained.backbone, trained.spec, self.rows)
        result = replace(result, slices=self.slices)
        result.write(path.with_suffix(".npz"))
        report = {
            "cell": cell.name,
            "auc": self._auc(result),
            "gate": {
                name: value
                for name, value in trained.history["epochs"][-1].items()
                if name.startswith(("alpha", "gate_"))
            },
            "best_epoch": trained.history["best_epoch"],
            "rows_per_second": trained.history["rows_per_second"],
        }
        if cell.guided:
            plain = Cell(cell.backbone, cell.seed).name
            base = Result.read(path.with_name(f"{plain}.npz"))
            report["difference"] = self._differences(result, base)
        write_json(path, report)
        return report

    def scores_of(self, cell: Cell) -> ScoreTable:
        """The scores that a cell's guidance comes from."""
        return self.scores

    def _auc(self, result: Result) -> dict[str, float]:
        return {
            name: auc_sampled(result.labels[mask], result.logits[mask])
            for name, mask in result.sampled().items()
        }

    def _differences(self, result: Result, base: Result) -> dict[str, Any]:
        found = {}
        users = np.tile(result.users, 2)
        for name, mask in result.sampled().items():
            difference = paired_bootstrap(
                users[mask],
                result.logits[mask],
                base.logits[mask],
                labels=result.labels[mask],
            )
            found[name] = [difference.difference, difference.low, difference.high]
        return found


def table_of(cells: list[Cell], reports: dict[str, dict[str, Any]]) -> Table:
    """Means over the seeds; of differences also how many intervals exclude 0."""
    table = Table("backbone", "guidance", "teacher", "seeds")
    pools = list(next(iter(reports.values()))["auc"])
    for pool in pools:
        table.add_column(pool)
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell.name in reports:
            key = (cell.backbone, cell.guided or "none", cell.teacher)
            groups.setdefault(key, []).append(reports[cell.name])
    for key, group in groups.items():
        row = []
        for pool in pools:
            text = f"{np.mean([report['auc'][pool] for report in group]):.4f}"
            if "difference" in group[0]:
                found = np.array([report["difference"][pool] for report in group])
                better, worse = (found[:, 1] > 0).sum(), (found[:, 2] < 0).sum()
                text += f" {found[:, 0].mean():+.4f} ({better}+ {worse}-)"
            row.append(text)
        table.add_row(*key, str(len(group)), *row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=["transfer", "selectivity"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/guidance_study"))
    parser.add_argument("--backbones", nargs="+", help="of the study's own by default")
    parser.add_argument("--teachers", nargs="+", choices=TEACHERS, default=[*TEACHERS])
    parser.add_argument("--guidance", nargs="+", choices=GUIDED, default=[*GUIDED])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    usual = {"transfer": ["deepfm", "dcnv2"], "selectivity": ["deepfm"]}
    backbones = options.backbones or usual[options.study]
    cells = cells_of(
        options.study, backbones, options.seeds, options.teachers, options.guidance
    )
    bench = Bench(options.data, options.work, options.epochs)
    console, reports = Console(stderr=options.json), {}
    for cell in cells:
        reports[cell.name] = bench.run(cell)
        console.print(f"{cell.name}: {reports[cell.name]['auc']}")
    console.print(table_of(cells, reports))
    if options.json:
        print(json.dumps(reports))


if __name__ == "__main__":
    main()
