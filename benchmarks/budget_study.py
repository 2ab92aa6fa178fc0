"""What each thousand requests to the teacher is worth, by the order of asking.

    python benchmarks/budget_study.py --data FOLDER --work FOLDER

FOLDER of `--data` holds `interactions.parquet` and `items.parquet`. The teacher is MiniLM;
a request is what an LLM would be sent: one prompt for a user's candidates, or one for a
probe, a fifth of them up to 4,000. A budget is spent in the order of expected benefit (cold
user, tail taste, uncertainty of the model without guidance), or at random; DeepFM is trained
on the scores that it bought, and compared with no guidance on the test rows. Each cell's
figures are a file of `--work` as soon as it is done; a killed study goes on.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from guidance_study import Bench, Cell
from rich.console import Console
from rich.table import Table

from keras_sllmr.cli.config import ScoreConfig
from keras_sllmr.cli.score_stage import PROBE_USERS, ScoreStage
from keras_sllmr.evaluation.user_uncertainty import user_uncertainty
from keras_sllmr.scoring.budget import ask_order, expected_benefit
from keras_sllmr.scoring.candidates import CandidateSettings
from keras_sllmr.scoring.sampler import CandidateSampler
from keras_sllmr.store.score_table import UNKNOWN, ScoreTable
from keras_sllmr.training.trained_model import TrainedModel

_COLUMNS = {
    "user": "users",
    "item": "items",
    "score": "scores",
    "origin": "origins",
    "position": "positions",
    "label": "labels",
    "spread": "spread",
    "answers": "answers",
}


@dataclass(frozen=True)
class Bought(Cell):
    """A run on what a budget bought."""

    order: str = "random"
    requests: int = 0


class BudgetBench(Bench):
    """Tables of the users whom a budget reaches."""

    def scores_of(self, cell: Cell) -> ScoreTable:
        if not isinstance(cell, Bought):
            return self.full
        path = self.work / "bought" / cell.name
        if (path / "manifest.json").exists():
            return ScoreTable(path, self.split.store)
        users, probed = self.asked(cell)
        table = self.full
        rows = pd.DataFrame(
            {name: getattr(table, held) for name, held in _COLUMNS.items()}
        )
        bought = rows["user"].isin(users) & (rows["label"] == UNKNOWN)
        bought |= rows["user"].isin(probed) & (rows["label"] != UNKNOWN)
        return ScoreTable.create(
            path,
            self.split.store,
            rows[bought],
            teacher=table.manifest["teacher"],
            settings={"order": cell.order, "requests": cell.requests},
            cost={},
        )

    @property
    def full(self) -> ScoreTable:
        """The scores of everybody, by MiniLM."""
        path = self.work / "minilm"
        if not (path / "manifest.json").exists():
            config = ScoreConfig(teacher="encoder")
            ScoreStage(self.split, self.text, config, seed=0).score(path)
        return ScoreTable(path, self.split.store)

    def asked(self, cell: Bought) -> tuple[np.ndarray, np.ndarray]:
        """Whose candidates and whose probes the requests reach: four to one."""
        uncertainty = None
        if cell.order == "benefit":
            plain = TrainedModel(self.work / "models" / Cell("deepfm", cell.seed).name)
            uncertainty = user_uncertainty(plain, self.split)
        benefit = expected_benefit(self.split, uncertainty=uncertainty)
        users = ask_order(benefit, order=cell.order, seed=cell.seed)
        settings = CandidateSettings(
            near=0, tail_near=0, probe_users=PROBE_USERS, seed=cell.seed
        )
        probed = CandidateSampler(self.split, settings).probe_order
        probed = probed[: cell.requests // 5]
        return users[: cell.requests - len(probed)], probed


def table_of(cells: list[Bought], reports: dict[str, dict[str, Any]]) -> Table:
    """Gains over no guidance and gains per 1,000 requests; means over the seeds."""
    pools = list(next(iter(reports.values()))["auc"])
    table = Table("requests", "order", "seeds", *pools, "all, per 1,000")
    groups: dict[tuple[int, str], list[dict[str, Any]]] = {}
    for cell in cells:
        if cell.name in reports:
            groups.setdefault((cell.requests, cell.order), []).append(
                reports[cell.name]
            )
    for (requests, order), group in sorted(groups.items()):
        gains = {
            pool: np.mean([report["difference"][pool][0] for report in group])
            for pool in pools
        }
        table.add_row(
            f"{requests:,}",
            order,
            str(len(group)),
            *(f"{gain:+.4f}" for gain in gains.values()),
            f"{1000 * gains['all'] / requests:+.5f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/budget_study"))
    parser.add_argument(
        "--requests", type=int, nargs="+", default=[2000, 5000, 15000, 50000]
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    bench = BudgetBench(options.data, options.work, options.epochs)
    console, reports = Console(stderr=options.json), {}
    cells: list[Bought] = []
    for seed in range(options.seeds):
        bench.run(Cell("deepfm", seed))
        for requests in options.requests:
            enough = requests >= bench.split.store.n_users + PROBE_USERS
            for order in ("user",) if enough else ("benefit", "random"):
                teacher = f"{order}-{requests}"
                cell = Bought(
                    "deepfm", seed, "gate", teacher, order=order, requests=requests
                )
                cells.append(cell)
                reports[cell.name] = bench.run(cell)
                console.print(f"{cell.name}: {reports[cell.name]['difference']}")
    console.print(table_of(cells, reports))
    if options.json:
        print(json.dumps(reports))


if __name__ == "__main__":
    main()
