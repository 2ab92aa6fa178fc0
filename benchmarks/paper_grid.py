"""From the searches to the grid of the paper's tables: which settings each cell gets.

    python benchmarks/paper_grid.py columns --search runs/search --domain beauty \\
        --out candidates_beauty.yaml
    sllmr grid candidates_beauty.yaml --data FOLDER --runs runs
    python benchmarks/paper_grid.py note --search runs/search --results runs
    python benchmarks/paper_grid.py choose --search runs/search

`runs/search/DOMAIN` is what `method_search.py` wrote for a domain. `columns` writes the
grid that tries the two best trials of each method, found there on DCNv2, on the other
backbones: seed 0. `note` adds their validation figures to the searches' files. `choose`
prints the overrides of `pipelines/grids/paper.yaml`: for each domain and backbone, of a
method's two trials the one whose model was better on validation, once both were tried.
No choice reads the test split.
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
DOMAINS = ("beauty", "sports")


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


def columns(search: Path, domain: str, methods: list[str]) -> dict[str, Any]:
    """The grid of all candidates of a domain."""
    return {
        "name": f"candidates_{domain}",
        "domains": {domain: {"import": {"path": domain}}},
        "backbones": list(OTHERS),
        "methods": {
            column: {"method": method, "train": settings}
            for method in methods
            for column, settings in trials(search / domain, method).items()
        },
        "seeds": [0],
        "full_seeds": [],
        "train": {"epochs": 20},
    }


def note(search: Path, results: Path, domain: str) -> None:
    """Adds the validation figures of a domain's candidates to their searches' files."""
    from keras_sllmr.evaluation.result import Result

    found = results / f"candidates_{domain}" / "results" / domain
    for method in COMPARED:
        path = search / domain / f"{method}.json"
        if not path.exists():
            continue
        about = json.loads(path.read_text())
        for backbone in OTHERS:
            figures = about.setdefault("backbones", {}).setdefault(backbone, {})
            for column in trials(search / domain, method):
                result = found / f"{backbone}-{column}-0.npz"
                if result.exists():
                    figures[column] = Result.read(result).about["validation"]
        path.write_text(json.dumps(about, indent=1))


def choose(search: Path, domain: str) -> list[dict[str, Any]]:
    """Overrides of the settings of a domain, by backbone and method."""
    overrides = []
    for method in (*COMPARED, *ABLATIONS):
        path = search / domain / f"{method}.json"
        if not path.exists():
            continue
        options = trials(search / domain, method)
        best = {SEARCHED: f"{method}_a"}
        tried = json.loads(path.read_text()).get("backbones", {})
        for backbone, figures in tried.items():
            if set(figures) == set(options):
                best[backbone] = max(figures, key=lambda column: figures[column])
        overrides += [
            {
                "domain": domain,
                "backbone": backbone,
                "method": method,
                "train": options[column],
            }
            for backbone, column in best.items()
        ]
    return overrides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("columns")
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--domain", choices=DOMAINS, required=True)
    one.add_argument("--methods", nargs="+", choices=COMPARED, default=list(COMPARED))
    two = commands.add_parser("note")
    two.add_argument("--results", type=Path, required=True)
    three = commands.add_parser("choose")
    for command in (one, two, three):
        command.add_argument("--search", type=Path, required=True)
    given = parser.parse_args()
    if given.command == "columns":
        grid = columns(given.search, given.domain, given.methods)
        given.out.write_text(yaml.safe_dump(grid, sort_keys=False))
    elif given.command == "note":
        for domain in DOMAINS:
            note(given.search, given.results, domain)
    else:
        found = [
            override for domain in DOMAINS for override in choose(given.search, domain)
        ]
        print(yaml.safe_dump({"overrides": found}, sort_keys=False))


if __name__ == "__main__":
    main()
