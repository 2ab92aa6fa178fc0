"""The report's section on the gate: when it opened, where, and whether rightly."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.evaluation.report.calibration import calibration_parts
from keras_sllmr.evaluation.report.comparison import labels
from keras_sllmr.evaluation.report.heat_map import heat_map
from keras_sllmr.evaluation.report.learning import curve_panel, epoch_points
from keras_sllmr.evaluation.report.parts import Panel, Section, Table
from keras_sllmr.evaluation.report.plots import Line
from keras_sllmr.evaluation.report.wording import number, printable

# Label, series and dashes of each mean of the gate.
_LINES = {
    "alpha": ("all", 0, False),
    "alpha_cold": ("cold", 1, False),
    "alpha_warm": ("warm", 1, True),
    "alpha_tail": ("tail", 2, False),
    "alpha_head": ("head", 2, True),
}


def gate_section(metrics: Mapping[str, Any]) -> Section:
    """What the gate did, for each method that has one."""
    names = labels(metrics)
    panels: list[Panel] = []
    tables: list[Table] = []
    numbers: list[Table] = []
    for at, (name, run) in enumerate((metrics.get("training") or {}).items()):
        label = names.get(name, printable(name))
        lines = [
            Line(title, epoch_points(run, key), place, dashed)
            for key, (title, place, dashed) in _LINES.items()
        ]
        panels += curve_panel(
            f"gate-{at}",
            f"Mean α of {label}",
            lines,
            (
                "Mean over the pairs the teacher orders, of some training users.",
                _alpha_pairs(run),
            ),
            from_zero=True,
        )
        tables += _by_slice(label, run, lines)
        for found, shown in (
            _map(f"gate-map-{at}", label, run.get("gate_map") or {}),
            calibration_parts(
                f"gate-calibration-{at}",
                f"Calibration of the gate of {label}",
                run.get("gate_calibration") or {},
                came_true="share right",
                of="pairs",
                place=2,
            ),
        ):
            panels += found
            numbers += shown
    return Section(
        "Gate",
        intro="α says how much a pair of items listens to the teacher; at 0 it does "
        "not. Cold and warm go by the user; tail is a pair with a long-tail item. The "
        "gate's chance is that the teacher orders a pair rightly; it is judged on pairs "
        "that it was not trained on.",
        panels=panels,
        tables=tables,
        numbers=numbers,
    )


def _by_slice(label: str, run: Mapping[str, Any], lines: Sequence[Line]) -> list[Table]:
    known: list[tuple[str, dict[Any, float]]] = [
        (line.label, dict(line.known)) for line in lines if line.known
    ]
    if not known:
        return []
    epochs = [epoch["epoch"] for epoch in run["epochs"]]
    shown = (epochs[0], run.get("best_epoch"), epochs[-1])
    return [
        Table(
            f"Mean α of {label} by slice",
            ("slice", "first epoch", "best epoch", "last epoch"),
            [
                (title, *(number(values.get(epoch)) for epoch in shown))
                for title, values in known
            ],
        )
    ]


def _alpha_pairs(run: Mapping[str, Any]) -> str:
    """A note on n, when the run counted the pairs; they are the same each epoch."""
    counts = [
        epoch["alpha_pairs"]
        for epoch in run.get("epochs") or ()
        if "alpha_pairs" in epoch
    ]
    return f"n = {counts[0]:,.0f} pairs." if counts else ""


def _map(
    name: str, label: str, found: Mapping[str, Any]
) -> tuple[list[Panel], list[Table]]:
    """Where the gate opened: α by the user's history and the items' popularity."""
    cells, pairs = found.get("alpha") or [], found.get("pairs") or []
    known = [value for row in cells for value in row if value is not None]
    if not known:
        return [], []
    rows, columns = _bins(found["history_edges"]), _bins(found["popularity_edges"])
    count = sum(map(sum, pairs))
    title = f"Where the gate of {label} opened"
    panel = Panel(
        title=title,
        note="Mean α by the user's training events and by those of the pair's rarer "
        f"item, best epoch; the deeper the colour, the higher. n = {count:,} pairs.",
        svg=heat_map(
            name,
            f"Heat map of mean α from {number(min(known))} to {number(max(known))}; "
            "the values are in the table of numbers.",
            cells,
            rows,
            columns,
            row_name="events of the user",
            column_name="events of the rarer item",
        ),
    )
    table = Table(
        f"{title}: mean α (pairs), events of the user by those of the rarer item",
        ("user \\ item", *columns),
        [
            (
                row,
                *(
                    "-" if value is None else f"{number(value)} ({n:,})"
                    for value, n in zip(values, counts, strict=True)
                ),
            )
            for row, values, counts in zip(rows, cells, pairs, strict=True)
        ],
    )
    return [panel], [table]


def _bins(edges: Sequence[int]) -> list[str]:
    """Whole numbers from each edge to below the next, such as `3–5`."""
    ends = itertools.pairwise(edges)
    return [f"{a}" if b - a == 1 else f"{a}–{b - 1}" for a, b in ends]
