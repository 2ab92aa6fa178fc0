"""`report.html`: everything a run found, in one file that asks the network for nothing."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from keras_sllmr.evaluation.report.groups import (
    backbone,
    by_domain,
    comparison_headline,
    groups_of,
    level,
)
from keras_sllmr.evaluation.report.sentences import headline
from keras_sllmr.evaluation.report.wording import number, printable, signed
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
    return _written(render(metrics), path)


def write_comparison(
    comparison: Mapping[str, Any], path: str | os.PathLike[str]
) -> Path:
    """Writes the report of a comparison as one self-contained HTML file.

    Args:
        comparison: `name`, `level`, `corrected` and `seeds` say how it was made;
            `groups` has the metrics of each backbone on each domain, of a run's shape.
        path: the file to write; an older report stays until the new one is whole.

    Returns:
        The path of the report.

    Raises:
        StoreError: when the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "comparison.html"
        >>> write_comparison({"name": "none", "groups": []}, path).exists()
        True
    """
    return _written(render_comparison(comparison), path)


def render(metrics: Mapping[str, Any]) -> str:
    """The report of a run as HTML text."""
    # matplotlib is slow to import, and what imports this package may never draw.
    from keras_sllmr.evaluation.report.sections import sections

    return _page(
        metrics,
        kind="run",
        facts=list(_facts(metrics)),
        headline=headline(metrics),
        sections=list(filter(None, sections(metrics))),
        hashes=list(_hashes(metrics)),
    )


def render_comparison(comparison: Mapping[str, Any]) -> str:
    """The report of a comparison as HTML text."""
    from keras_sllmr.evaluation.report.group_sections import comparison_sections

    return _page(
        comparison,
        kind="comparison",
        facts=list(_comparison_facts(comparison)),
        headline=comparison_headline(comparison),
        sections=list(filter(None, comparison_sections(comparison))),
        hashes=[
            *_hashes(comparison),
            *(
                (f"{printable(group.get('domain'))} {backbone(group)} {key}", value)
                for group in groups_of(comparison)
                for key, value in _hashes(group)
            ),
        ],
    )


def _page(found: Mapping[str, Any], **parts: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "signed": signed,
        "minus": _minus,
        "breakable": _breakable,
    }
    text = environment.get_template("page.html").render(
        name=printable(found.get("name") or parts["kind"]),
        settings=list(_flat(found.get("settings") or {})),
        style=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        **parts,
    )
    return text.lstrip()


def _written(text: str, path: str | os.PathLike[str]) -> Path:
    path = Path(path)
    with replace_file(path) as beside:
        # Names from outside may hold lone surrogates, which UTF-8 cannot.
        beside.write_bytes(text.encode("utf-8", errors="replace"))
    return path


def _minus(text: object) -> str:
    """The text with true minus signs, which are read aloud as such."""
    return re.sub(r"(?<!\w)-(?=[.\d])", "\N{MINUS SIGN}", str(text))


def _breakable(text: object) -> Markup:
    """The text, which may go on in another line after an underscore."""
    return Markup(str(escape(text)).replace("_", "_<wbr>"))


def _facts(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("created", "version", "seed"):
        if metrics.get(key) is not None:
            yield key, printable(metrics[key])
    teacher = (metrics.get("teacher") or {}).get("name")
    if teacher:
        yield "teacher", printable(teacher)


def _comparison_facts(comparison: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _facts({**comparison, "seed": None})
    domains, groups = by_domain(comparison), groups_of(comparison)
    for key, values in (
        ("domains", domains),
        ("backbones", dict.fromkeys(backbone(group) for group in groups)),
        ("seeds", dict.fromkeys(s for g in groups for s in g.get("seeds") or ())),
    ):
        if values:
            yield key, ", ".join(map(printable, values))
    if groups:
        yield "intervals", level(comparison)


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
