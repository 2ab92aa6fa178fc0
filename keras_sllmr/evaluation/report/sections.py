"""The sections of the report that a run's metrics can fill."""

from collections.abc import Iterator, Mapping
from typing import Any

from keras_sllmr.evaluation.report.calibration import calibration_section
from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    baseline,
    comparison_rows,
    labels,
    levels,
    metric_names,
    places,
)
from keras_sllmr.evaluation.report.gains import Category, Mark, gain_bars
from keras_sllmr.evaluation.report.gate import gate_section
from keras_sllmr.evaluation.report.learning import training_section
from keras_sllmr.evaluation.report.parts import (
    Key,
    MethodRow,
    MethodTable,
    Panel,
    Section,
    Table,
)
from keras_sllmr.evaluation.report.sentences import remarks
from keras_sllmr.evaluation.report.svg import series
from keras_sllmr.evaluation.report.teacher import teacher_section
from keras_sllmr.evaluation.report.wording import (
    metric_title,
    printable,
    seconds,
    slice_title,
)

# With more rows than these, metrics other than the AUCs are folded away.
_MANY_ROWS = 40


def sections(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """Yields every section; those that the metrics have nothing for are false."""
    builders = (
        methods_section,
        _gains,
        calibration_section,
        training_section,
        gate_section,
        teacher_section,
        _data,
        _time,
    )
    for build in builders:
        yield build(metrics)


def methods_section(
    metrics: Mapping[str, Any], title: str = "Comparison", caption: str = ""
) -> Section:
    """Every metric and slice of one run or group, the methods side by side.

    Args:
        metrics: a run's metrics, or a group of a comparison.
        title: of the section.
        caption: of the table. Defaults to one that says what a run's intervals are.
    """
    rows = comparison_rows(metrics, metric_names(metrics))
    bodies: dict[str, list[MethodRow]] = {}
    folded: dict[str, list[MethodRow]] = {}
    for row in rows:
        first = row.metric in AUC_METRICS or len(rows) <= _MANY_ROWS
        body = (bodies if first else folded).setdefault(metric_title(row.metric), [])
        body.append(MethodRow(slice_title(row.slice), row, row.rows))
    if not rows:
        return Section(title)
    names, to = labels(metrics), baseline(metrics)
    against = names.get(to, printable(to))
    compared = (
        f"With each value its difference to {against} and the {levels(rows)} "
        "confidence interval of that. Level: the interval includes zero. Bold: the "
        f"best of its row, where it is better than {against}. n: test rows."
        if levels(rows)
        else "Every method on every slice; n: test rows."
    )
    caption = " ".join([caption or compared, *remarks(metrics)])
    return Section(
        title,
        methods=[
            MethodTable(caption, "slice", names, to, list(found.items()), summary)
            for found, summary in ((bodies, ""), (folded, "Other metrics"))
            if found
        ],
    )


def _gains(metrics: Mapping[str, Any]) -> Section:
    names, place = labels(metrics), places(metrics)
    first = baseline(metrics)
    against = names.get(first, printable(first))
    panels = []
    for metric in AUC_METRICS:
        rows = [row for row in comparison_rows(metrics, [metric]) if row.differences]
        if not rows:
            continue
        compared = [m for m in place if any(m in row.differences for row in rows)]
        told = "; ".join(
            f"{names[m]} on {slice_title(row.slice)} {row.differences[m]}"
            for row in rows
            for m in compared
            if m in row.differences
        )
        panels.append(
            Panel(
                title=f"Gain in {metric}",
                note=f"Whiskers: {levels(rows)} confidence interval. n: test rows. "
                "A pale bar's interval includes zero.",
                svg=gain_bars(
                    f"gain-{metric}",
                    f"Bars of the gain in {metric} over {against}: {told}",
                    [
                        Category(
                            slice_title(row.slice),
                            [Mark(place[m], row.differences.get(m)) for m in compared],
                            row.rows,
                        )
                        for row in rows
                    ],
                ),
                legend=[Key("■", names[m], series(place[m])) for m in compared],
            )
        )
    return Section(f"Gain over {against} by slice", panels=panels)


def _data(metrics: Mapping[str, Any]) -> Section:
    counts = {
        key: value
        for key, value in (metrics.get("store") or {}).items()
        if isinstance(value, int)
    }
    if not counts:
        return Section("Data")
    rows = [(key.replace("_", " "), f"{value:,}") for key, value in counts.items()]
    return Section("Data", tables=[Table("In the store", ("what", "count"), rows)])


def _time(metrics: Mapping[str, Any]) -> Section:
    stages, names = metrics.get("stages") or [], labels(metrics)
    tables = []
    if stages:
        longest = max(stage["seconds"] for stage in stages) or 1
        tables.append(
            Table(
                "Wall time of each stage",
                ("stage", "time", "state"),
                [
                    (
                        printable(stage["name"]),
                        seconds(stage["seconds"]),
                        "skipped, unchanged" if stage.get("skipped") else "run",
                    )
                    for stage in stages
                ],
                [stage["seconds"] / longest for stage in stages],
            )
        )
    runs = {
        name: run
        for name, run in (metrics.get("training") or {}).items()
        if run.get("rows_per_second") is not None
    }
    if runs:
        tables.append(
            Table(
                "Training throughput",
                ("method", "rows per second", "epochs", "best epoch", "pairs a batch"),
                [
                    (
                        names.get(name, printable(name)),
                        f"{run['rows_per_second']:,.0f}",
                        str(len(run.get("epochs") or ())),
                        str(run.get("best_epoch", "-")),
                        f"{run.get('pairs_per_batch') or 0:,.1f}",
                    )
                    for name, run in runs.items()
                ],
            )
        )
    return Section("Time", tables=tables)
