"""What the training benchmarks share: options, and results that are kept as they come."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from keras_sllmr.cli.console import err
from keras_sllmr.io.atomic import read_json, write_json

Report = dict[str, Any]


def parser(description: str | None, *, work: str, rounds: int) -> Any:
    """An argument parser with the options of both benchmarks."""
    result = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("--batch", type=int, default=128, help="labelled rows a step")
    add("--embedding", type=int, default=64, help="embedding dimension")
    add("--rounds", type=int, default=rounds, help="windows of each side")
    add("--seconds", type=float, default=6.0, help="length of a window")
    add("--threads", type=int, default=0, help="TensorFlow's; 0 lets it choose")
    add("--work", type=Path, default=Path(work), help="folder of kept stores")
    add("--out", type=Path, help="results file")
    add("--json", action="store_true", help="print the results as JSON")
    return result


def settings_of(options: Any, **others: Any) -> dict[str, Any]:
    """The options that the figures depend on, and the machine's cores."""
    names = ("batch", "embedding", "rounds", "seconds", "threads")
    chosen = {name: getattr(options, name) for name in names}
    return {**chosen, "cores": os.cpu_count(), **others}


def measure_each(
    names: Iterable[str],
    measure: Callable[[str], Report],
    summary: Callable[[dict[str, Report]], Report],
    *,
    settings: dict[str, Any],
    out: Path | None,
) -> Report:
    """Measures one name after the other and writes the results after each.

    Args:
        names: what to measure.
        measure: measures one of them.
        summary: from the results by name to further entries of the report.
        settings: of the measurement; results of other settings are not mixed.
        out: results file; its results are taken over. Or none.

    Returns:
        The results by name, the summary and the settings.
    """
    results = _finished(out, settings)

    def report(chosen: dict[str, Report]) -> Report:
        return {**chosen, **summary(chosen), "settings": settings}

    for name in names:
        if name in results:
            continue
        results[name] = measure(name)
        err.print(f"{name}: {results[name]}")
        if out is not None:
            write_json(out, report(results))
    return report({name: results[name] for name in names})


def _finished(path: Path | None, settings: dict[str, Any]) -> dict[str, Report]:
    if path is None or not path.exists():
        return {}
    report = read_json(path)
    if report["settings"] != settings:
        sys.exit(f"{path} was measured with other settings: {report['settings']}")
    return {name: row for name, row in report.items() if "peak_mb" in row}
