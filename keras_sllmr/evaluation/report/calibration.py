"""The report on calibration: whether stated chances came true."""

from collections.abc import Mapping
from typing import Any

from keras_sllmr.evaluation.report import plots
from keras_sllmr.evaluation.report.comparison import labels, places
from keras_sllmr.evaluation.report.parts import Panel, Section, Table
from keras_sllmr.evaluation.report.wording import number


def calibration_section(metrics: Mapping[str, Any]) -> Section:
    """Each method's stated chances of a positive, on the sampled test rows."""
    methods, names, place = (
        metrics.get("methods") or {},
        labels(metrics),
        places(metrics),
    )
    found = {m: methods[m].get("calibration") or {} for m in names}
    parts = [
        calibration_parts(
            f"calibration-{at}",
            f"Calibration of {names[method]}",
            found[method],
            came_true="share positive",
            of="rows",
            place=place[method],
        )
        for at, method in enumerate(names)
    ]
    measured = [method for method in names if found[method].get("bins")]
    overall = Table(
        "Calibration (lower is better)",
        ("method", "ECE", "Brier"),
        [
            (names[m], *(number(found[m].get(k)) for k in ("ece", "brier")))
            for m in measured
        ],
    )
    return Section(
        "Calibration",
        intro="Whether the chance that a method gives a row is the share of such rows "
        "that are positive, on the sampled test rows, half of which are. ECE is the "
        "mean distance from the diagonal; the Brier score is the mean squared error.",
        panels=[panel for panels, _ in parts for panel in panels],
        tables=[overall] if measured else [],
        numbers=[table for _, tables in parts for table in tables],
    )


def calibration_parts(
    name: str,
    title: str,
    found: Mapping[str, Any],
    *,
    came_true: str,
    of: str,
    place: int,
) -> tuple[list[Panel], list[Table]]:
    """The figure and the numbers of a calibration table; nothing where there is none.

    Args:
        name: prefix of the ids in the figure, unique in the page.
        title: of the figure and the table.
        found: `ece`, `brier` and `bins`, see `training.calibration_table`.
        came_true: what the vertical axis shows.
        of: what the chances are of: rows or pairs.
        place: the series whose colour the figure has.
    """
    bins = [one for one in found.get("bins") or () if one["accuracy"] is not None]
    if not bins:
        return [], []
    scores = [
        f"{label} {number(found[key])}"
        for key, label in (("ece", "ECE"), ("brier", "Brier"), ("auc", "AUC"))
        if found.get(key) is not None
    ]
    count = sum(one["pairs"] for one in bins)
    told = ", ".join([*scores, f"n = {count:,} {of}"])
    panel = Panel(
        title=title,
        note=f"{told}. Dashed: perfect.",
        svg=plots.calibration(
            name,
            f"{title}, {came_true} by stated chance: {told}; the values are in the "
            "table of numbers.",
            bins,
            place,
            came_true,
        ),
    )
    table = Table(
        title,
        ("bin", "stated chance", came_true, of),
        [
            (
                str(at),
                number(one["chance"]),
                number(one["accuracy"]),
                f"{one['pairs']:,}",
            )
            for at, one in enumerate(bins, 1)
        ],
    )
    return [panel], [table]
