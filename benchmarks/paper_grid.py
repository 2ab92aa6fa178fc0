"""From the search to the grid of the paper's tables: which settings each cell gets.

    python benchmarks/paper_grid.py columns --search runs/search --out candidates.yaml
    sllmr grid candidates.yaml --data FOLDER --runs runs
    python benchmarks/paper_grid.py choose --search runs/search --results runs/candidates

`columns` writes the grid that tries the two best trials of each method, found by
`method_search.py` on DCNv2, on the other backbones: Beauty, seed 0. `choose` prints the
overrides of `pipelines/grids/paper.yaml`: of a method's two trials the one whose model
was better on validation, for each backbone. The test split is not read.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

#: where the search was made; its order of a method's trials holds there.
SEARCHED = "dcnv2"
OTHERS = ("deepfm", "xdeepfm", "autoint", "dcn", "din")
COMPARED = ("none", "kd", "kar", "llm_cf", "sllmr")
ABLATIONS = ("global", "pointwise")


def trials(search: Path, method: str) -> dict[str, dict[str, Any]]:
    """The training settings of a method's best trials, by columns' names."""
    found = json.loads((search / f"{method}.json").read_text())["best"]
    return {
        f"{method}_{letter}": nested(trial["values"])
        for letter, trial in zip("ab", found, strict=True)
    }


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Dotted names as sections, numbers to two figures."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = name.split(".")
        section = found
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = float(f"{value:.2g}") if isinstance(value, float) else value
    return found


def columns(search: Path, methods: list[str]) -> dict[str, Any]:
    """The grid of all candidates."""
    return {
        "name": "candidates",
        "domains": {"beauty": {"import": {"path": "beauty"}}},
        "backbones": list(OTHERS),
        "methods": {
            column: {"method": method, "train": settings}
            for method in methods
            for column, settings in trials(search, method).items()
        },
        "seeds": [0],
        "full_seeds": [],
        "train": {"epochs": 20},
    }


def choose(search: Path, results: Path) -> list[dict[str, Any]]:
    """Overrides of the settings, by backbone and method."""
    from keras_sllmr.evaluation.result import Result

    overrides = []
    for method in (*COMPARED, *ABLATIONS):
        options = trials(search, method)
        best = {SEARCHED: f"{method}_a"}
        for backbone in OTHERS if method in COMPARED else ():
            files = {
                column: results / f"results/beauty/{backbone}-{column}-0.npz"
                for column in options
            }
            scores = {
                column: Result.read(file).about["validation"]
                for column, file in files.items()
            }
            best[backbone] = max(scores, key=lambda column: scores[column])
            print(f"# {backbone} {method}: {scores}")
        overrides += [
            {"backbone": backbone, "method": method, "train": options[column]}
            for backbone, column in best.items()
        ]
    return overrides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("columns")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--methods", nargs="+", choices=COMPARED, default=list(COMPARED))
    two = commands.add_parser("choose")
    two.add_argument("--results", type=Path, required=True)
    for command in (one, two):
        command.add_argument("--search", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "columns":
        text = yaml.safe_dump(columns(given.search, given.methods), sort_keys=False)
        given.out.write_text(text)
    else:
        found = choose(given.search, given.results)
        print(yaml.safe_dump({"overrides": found}, sort_keys=False))


if __name__ == "__main__":
    main()
