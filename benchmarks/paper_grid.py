"""The settings that the searches found, as overrides of the grid of the paper's tables.

    python benchmarks/paper_grid.py --search benchmarks/results/search

`SEARCH/DOMAIN/METHOD.json` is what `method_search.py` wrote. Prints the overrides of
`pipelines/grids/paper.yaml`: of each domain and method the best trial on DCNv2's
validation, fixed for every backbone and seed. No choice reads the test split.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

DOMAINS = ("beauty", "sports")
METHODS = ("none", "kd", "kar", "llm_cf", "sllmr", "global", "pointwise")


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


def best(path: Path) -> dict[str, Any]:
    """The training settings of a search's best trial."""
    return nested(json.loads(path.read_text())["best"][0]["values"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--search", type=Path, required=True)
    search = parser.parse_args().search
    found = [
        {"domain": domain, "method": method, "train": best(path)}
        for domain in DOMAINS
        for method in METHODS
        if (path := search / domain / f"{method}.json").exists()
    ]
    print(yaml.safe_dump({"overrides": found}, sort_keys=False))


if __name__ == "__main__":
    main()
