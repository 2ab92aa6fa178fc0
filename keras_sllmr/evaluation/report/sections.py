"""The sections of the report that a run's metrics can fill."""

from collections.abc import Iterator, Mapping
from typing import Any

from keras_sllmr.evaluation.report import plots
from keras_sllmr.evaluation.report.comparison import (
    AUC_METRICS,
    BASELINE,
    comparison_rows,
    labels,
    levels,
    places,
    printable,
    seconds,
    slice_title,
)
from keras_sllmr.evaluation.report.learning import gate_section, training_section
from keras_sllmr.evaluation.report.parts import Key, Panel, Section, Table
from keras_sllmr.evaluation.report.svg import series
from keras_sllmr.evaluation.report.teacher import teacher_section


def sections(metrics: Mapping[str, Any]) -> Iterator[Section]:
    """Yields the sections that the metrics have something for."""
    builders = (
        _gains,
        training_section,
        gate_section,
        teacher_section,
        _data,
        _time,
    )
    for build in builders:
        section = build(metrics)
        if section.panels or section.tables:
            yield section


def _gains(metrics: Mapping[str, Any]) -> Section:
    names = labels(metrics)
    place = places(metrics)
    against = names.get(BASELINE, BASELINE)
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
                svg=plots.gain_bars(
                    f"gain-{metric}",
                    f"Bars of the gain in {metric} over {against}: {told}",
                    rows,
                    place,
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
