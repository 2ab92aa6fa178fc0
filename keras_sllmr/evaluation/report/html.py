"""`report.html`: everything a run found, in one file that asks the network for nothing."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    BASELINE,
    LOWER_IS_BETTER,
    comparison_rows,
    headline,
    labels,
    levels,
    number,
    printable,
    slice_title,
)
from keras_sllmr.io.atomic import replace_file

_HERE = Path(__file__).parent


def write_report(metrics: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Writes the report of a run as one self-contained HTML file.

    What a run lacks (no second method, no gate, no reliability) leaves its section
    out. Equal metrics give equal bytes.

    Args:
        metrics: the run's metrics, as in `metrics.json`.
        path: the file to write; an older report stays until the new one is whole.

    Returns:
        The path of the report.

    Raises:
        StoreError: when the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "report.html"
        >>> write_report({"name": "empty run"}, path).read_text()[:15]
        '<!doctype html>'
    """
    path = Path(path)
    text = render(metrics)
    with replace_file(path) as beside:
        # Names from outside may hold lone surrogates, which UTF-8 cannot.
        beside.write_bytes(text.encode("utf-8", errors="replace"))
    return path


def render(metrics: Mapping[str, Any]) -> str:
    """The report as HTML text."""
    # matplotlib is slow to import, and what imports this package may never draw.
    from keras_sllmr.evaluation.report.sections import sections

    rows = comparison_rows(metrics, _metric_names(metrics))
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "slice_title": slice_title,
        "minus": _minus,
    }
    return environment.get_template("template.html").render(
        name=printable(metrics.get("name") or "run"),
        facts=list(_facts(metrics)),
        headline=headline(metrics),
        labels=labels(metrics),
        baseline=BASELINE,
        comparison=[
            (metric, [row for row in rows if row.metric == metric])
            for metric in dict.fromkeys(row.metric for row in rows)
        ],
        level=levels(rows),
        lower_is_better=LOWER_IS_BETTER,
        sections=list(sections(metrics)),
        settings=list(_flat(metrics.get("settings") or {})),
        hashes=list(_hashes(metrics)),
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
    )


def _metric_names(metrics: Mapping[str, Any]) -> list[str]:
    """Both AUCs, then whatever else was measured by slice."""
    measured = [
        key
        for method in (metrics.get("methods") or {}).values()
        for key, value in method.items()
        if isinstance(value, Mapping)
    ]
    return list(dict.fromkeys([*AUC_METRICS, *measured]))


def _minus(text: object) -> str:
    """The text with true minus signs, which are read aloud as such."""
    return re.sub(r"(?<!\w)-(?=[.\d])", "\N{MINUS SIGN}", str(text))


def _facts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("created", "version", "seed"):
        if metrics.get(key) is not None:
            yield key, printable(metrics[key])
    teacher = (metrics.get("teacher") or {}).get("name")
    if teacher:
        yield "teacher", printable(teacher)


def _hashes(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("store", "teacher"):
        for key, value in (metrics.get(part) or {}).items():
            if isinstance(value, str) and key != "name":
                yield f"{part} {printable(key)}", printable(value)


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, JSON value) pairs."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    elif name:
        shown = json.dumps(value, ensure_ascii=False, default=str)
        yield printable(name), printable(shown)
