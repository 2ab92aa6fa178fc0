"""The results of a run as tables for a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    BASELINE,
    ComparisonRow,
    Difference,
    comparison_rows,
    labels,
    levels,
)
from keras_sllmr.evaluation.report.sentences import remarks
from keras_sllmr.evaluation.report.wording import (
    number,
    printable,
    seconds,
    signed,
    slice_title,
)
from keras_sllmr.evaluation.tables import caption, comparison_frame, with_published

_STYLES = {"better": "green", "worse": "red", "level": "dim"}
# rich's SIMPLE_HEAD with an ASCII rule below the header.
_PLAIN_BOX = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)


def comparison_table(metrics: Mapping[str, Any], *, plain: bool = False) -> Table:
    """Tabulates both AUCs of all methods on each slice, and what they differ by.

    With one method beside the baseline each has a column; with more, each has a
    line, so that the table still fits 80 columns. A difference is called better or
    worse only when its confidence interval excludes zero.

    Args:
        metrics: the run's metrics, as in `metrics.json`.
        plain: ASCII lines and no colour, for logs. Default: False.

    Returns:
        A table to print with rich.

    Example:
        >>> from rich.console import Console
        >>> table = comparison_table({
        ...     "name": "demo",
        ...     "slices": {"all": {"rows": 942, "users": 942}},
        ...     "methods": {"none": {"label": "None", "auc_full": {"all": 0.81}},
        ...                 "sllmr": {"label": "S-LLMR", "auc_full": {"all": 0.82}}},
        ...     "differences": [{"metric": "auc_full", "slice": "all",
        ...         "method": "sllmr", "baseline": "none", "difference": 0.01,
        ...         "low": 0.005, "high": 0.015, "level": 0.95, "users": 942}],
        ... }, plain=True)
        >>> Console(width=80, color_system=None).print(table)  # doctest: +ELLIPSIS
        demo: methods compared...
        auc_full  all     942  0.8100  0.8200  +.0100 [+.0050, +.0150] better
        ...
    """
    rows = comparison_rows(metrics)
    names = labels(metrics)
    others = [name for name in names if name != BASELINE]
    level = levels(rows)
    table = titled_table(
        f"{printable(metrics.get('name', 'run'))}: methods compared", plain
    )
    notes = remarks(metrics)
    if level:
        against = names.get(BASELINE, BASELINE)
        notes = [
            f"Differences are to {against}, with their {level} confidence interval.",
            "Level: the interval includes zero.",
            *notes,
        ]
    if notes:
        table.caption = Text("\n".join(notes))
    table.add_column("metric", no_wrap=True)
    table.add_column("slice", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    if len(others) <= 1:
        for name in names.values():
            table.add_column(Text(name), justify="right")
    else:
        table.add_column("method")
        table.add_column("value", justify="right", no_wrap=True)
    if level:
        table.add_column("difference", no_wrap=True)

    for place, row in enumerate(rows):
        first = place == 0 or rows[place - 1].metric != row.metric
        last = place + 1 == len(rows) or rows[place + 1].metric != row.metric
        head = (
            row.metric if first else "",
            slice_title(row.slice),
            "-" if row.rows is None else f"{row.rows:,}",
        )
        if len(others) <= 1:
            cells = [Text(number(value)) for value in row.values.values()]
            if level:
                cells.append(_difference(row, others, plain))
            table.add_row(*head, *cells, end_section=last)
        else:
            for method in names:
                cells = [Text(names[method]), Text(number(row.values[method]))]
                if level:
                    cells.append(_difference(row, [method], plain))
                ends = last and method == others[-1]
                table.add_row(*head, *cells, end_section=ends)
                head = ("", "", "")
    return table


def compare_tables(
    comparison: Mapping[str, Any],
    *,
    metrics: Sequence[str] = AUC_METRICS,
    plain: bool = False,
) -> list[Table]:
    """Tabulates a comparison of many results, one table a metric.

    Args:
        comparison: what `evaluation.compare.compare` gives.
        metrics: which ones; those that no result has are left out. Default: both AUCs.
        plain: ASCII lines and no colour, for logs. Default: False.

    Returns:
        Tables to print with rich.
    """
    frame = comparison_frame(comparison)
    tables = []
    for metric in metrics:
        part = frame[(frame["metric"] == metric) & frame["value"].notna()]
        if part.empty:
            continue
        table = titled_table(metric, plain)
        table.add_column("slice")
        table.add_column("rows", justify="right", no_wrap=True)
        table.add_column("method")
        table.add_column("value", justify="right", no_wrap=True)
        spread = part["spread"].notna().any()
        if spread:
            table.add_column("sd", justify="right", no_wrap=True)
        table.add_column("difference")
        for (domain, backbone), lines in part.groupby(
            ["domain", "backbone"], sort=False
        ):
            table.add_section()
            table.add_row(Text(printable(f"{domain}, {backbone}"), style=_title(plain)))
            before = None
            for line in lines.itertuples():
                new, before = line.slice != before, line.slice
                table.add_row(
                    Text(slice_title(line.slice) if new else ""),
                    f"{line.rows:,}" if new else "",
                    Text(printable(line.label)),
                    with_published(line.value, line.published),
                    *([f"{line.spread:.4f}"] if spread else []),
                    _interval(line, plain),
                )
        tables.append(table)
    if tables and frame["difference"].notna().any():
        tables[-1].caption = Text(caption(comparison))
    elif tables and (notes := remarks(*comparison["groups"])):
        tables[-1].caption = Text(" ".join(notes))
    return tables


def _title(plain: bool) -> str:
    return "" if plain else "bold"


def _interval(line: Any, plain: bool) -> Text:
    if pd.isna(line.difference):
        return Text()
    text = Text(signed(line.difference))
    if not pd.isna(line.low):
        text.append(f" [{signed(line.low)}, {signed(line.high)}]")
    text.append(" ")
    text.append(line.verdict, style="" if plain else _STYLES[line.verdict])
    return text


def stage_table(metrics: Mapping[str, Any], *, plain: bool = False) -> Table:
    """Tabulates the wall time of each stage of the run.

    Args:
        metrics: the run's metrics, as in `metrics.json`.
        plain: ASCII lines and no colour, for logs. Default: False.

    Returns:
        A table to print with rich; the total leaves out what was skipped.
    """
    stages = metrics.get("stages") or []
    spent = sum(stage["seconds"] for stage in stages if not stage.get("skipped"))
    table = titled_table("Wall time", plain)
    table.show_footer = True
    table.add_column("stage", footer="total")
    table.add_column("time", footer=seconds(spent), justify="right", no_wrap=True)
    table.add_column("")
    for stage in stages:
        table.add_row(
            Text(printable(stage["name"])),
            seconds(stage["seconds"]),
            "skipped, unchanged" if stage.get("skipped") else "",
        )
    return table


def short(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The comparison alone, as plain values for `--json` output.

    Args:
        metrics: the run's metrics, as in `metrics.json`.

    Returns:
        `name`; `results`, one entry a metric and slice with the methods' values;
        `differences` to the baseline, each with its verdict.
    """
    rows = comparison_rows(metrics)
    return {
        "name": metrics.get("name"),
        "results": [
            {
                "metric": row.metric,
                "slice": row.slice,
                "rows": row.rows,
                "values": row.values,
            }
            for row in rows
        ],
        "differences": [
            {**vars(one), "verdict": one.verdict}
            for row in rows
            for one in row.differences.values()
        ],
    }


def titled_table(title: str, plain: bool = False) -> Table:
    """An empty table in the style of all results.

    Args:
        title: above it.
        plain: ASCII lines and no colour, for logs. Default: False.
    """
    return Table(
        title=Text(title),
        title_justify="left",
        title_style="" if plain else "bold",
        caption_justify="left",
        caption_style="" if plain else "dim",
        header_style="" if plain else "bold",
        footer_style="" if plain else "bold",
        box=_PLAIN_BOX if plain else box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        collapse_padding=True,
    )


def _difference(row: ComparisonRow, methods: list[str], plain: bool) -> Text:
    found: list[Difference] = [
        row.differences[method] for method in methods if method in row.differences
    ]
    text = Text()
    for one in found:
        text.append(f"{one} ")
        text.append(one.verdict, style="" if plain else _STYLES[one.verdict])
    return text
