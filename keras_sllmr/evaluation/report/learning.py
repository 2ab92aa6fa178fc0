"""The report's sections on training: curves by epoch, and what the gate did."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.evaluation.report import plots
from keras_sllmr.evaluation.report.comparison import (
    labels,
    number,
    places,
    printable,
)
from keras_sllmr.evaluation.report.parts import Key, Panel, Section, Table
from keras_sllmr.evaluation.report.plots import Line
from keras_sllmr.evaluation.report.svg import series

_VALIDATION = "val_auc_sampled"
# Label, series and dashes of each mean of the gate.
_GATE_LINES = {
    "alpha": ("all", 0, False),
    "alpha_cold": ("cold", 1, False),
    "alpha_warm": ("warm", 1, True),
    "alpha_tail": ("tail", 2, False),
    "alpha_head": ("head", 2, True),
}


def training_section(metrics: Mapping[str, Any]) -> Section:
    """Curves of the validation AUC and of the losses, the best epochs ringed."""
    training, names = metrics.get("training") or {}, labels(metrics)
    runs = {name: training[name] for name in names if name in training}
    place = places(metrics)

    def line(name: str, key: str, label: str = "", dashed: bool = False) -> Line:
        return Line(
            label=names[name] + label,
            points=_points(runs[name], key),
            series=place[name],
            dashed=dashed,
            best=runs[name].get("best_epoch"),
        )

    losses = []
    for name in runs:
        total = line(name, "loss")
        base = line(name, "base_loss", ", base loss", dashed=True)
        # A method without a second loss logs the same curve twice.
        losses += [total] if base.known == total.known else [total, base]
    rows = _of(metrics, "train_rows", "training rows an epoch")
    panels = [
        *_curve_panel(
            "validation",
            _VALIDATION,
            [line(name, _VALIDATION) for name in runs],
            ("Ring: best epoch.", _of(metrics, "users", "users")),
        ),
        *_curve_panel("loss", "Training loss", losses, ("Ring: best epoch.", rows)),
    ]
    for key, title in (("pair_loss", "Pair loss"), ("gate_loss", "Gate loss")):
        # A method without this loss may log it as zero.
        lines = [line(name, key) for name in runs]
        lines = [one for one in lines if any(y for _, y in one.known)]
        panels += _curve_panel(key, title, lines, ("Ring: best epoch.", rows))
    return Section(
        "Training",
        intro="The best epoch is the one with the highest validation AUC; the test "
        "rows take no part in choosing it.",
        panels=panels,
        numbers=[_epochs(names[name], run) for name, run in runs.items()],
    )


def gate_section(metrics: Mapping[str, Any]) -> Section:
    """The gate's mean α by slice and epoch, for each method that has a gate."""
    names = labels(metrics)
    panels: list[Panel] = []
    tables: list[Table] = []
    for name, run in (metrics.get("training") or {}).items():
        label = names.get(name, printable(name))
        lines = [
            Line(title, _points(run, key), place, dashed)
            for key, (title, place, dashed) in _GATE_LINES.items()
        ]
        panels += _curve_panel(
            f"gate-{len(panels)}",
            f"Mean α of {label}",
            lines,
            (
                "Mean over the pairs the teacher orders, of some training users.",
                _alpha_pairs(run),
            ),
            from_zero=True,
        )
        known = [(line.label, dict(line.known)) for line in lines if line.known]
        if known:
            epochs = [epoch["epoch"] for epoch in run["epochs"]]
            shown = (epochs[0], run.get("best_epoch"), epochs[-1])
            tables.append(
                Table(
                    f"Mean α of {label} by slice",
                    ("slice", "first epoch", "best epoch", "last epoch"),
                    [
                        (title, *(number(values.get(epoch)) for epoch in shown))
                        for title, values in known
                    ],
                )
            )
    return Section(
        "Gate",
        intro="α says how much a pair of items listens to the teacher; at 0 it does "
        "not. Cold and warm go by the user; tail is a pair with a long-tail item.",
        panels=panels,
        tables=tables,
    )


def _points(run: Mapping[str, Any], key: str) -> list[tuple[float, float | None]]:
    return [(epoch["epoch"], epoch.get(key)) for epoch in run.get("epochs") or ()]


def _alpha_pairs(run: Mapping[str, Any]) -> str:
    """A note on n, when the run counted the pairs; they are the same each epoch."""
    counts = [
        epoch["alpha_pairs"]
        for epoch in run.get("epochs") or ()
        if "alpha_pairs" in epoch
    ]
    return f"n = {counts[0]:,.0f} pairs." if counts else ""


def _of(metrics: Mapping[str, Any], count: str, what: str) -> str:
    """A note on n, when the store's counts have it."""
    value = (metrics.get("store") or {}).get(count)
    return "" if value is None else f"n = {value:,} {what}."


def _curve_panel(
    name: str,
    title: str,
    lines: Sequence[Line],
    notes: Sequence[str],
    from_zero: bool = False,
) -> list[Panel]:
    lines = [line for line in lines if line.known]
    if not lines:
        return []
    told = "; ".join(
        f"{line.label} from {number(line.known[0][1])} to {number(line.known[-1][1])}"
        for line in lines
    )
    epochs = max(len(line.known) for line in lines)
    return [
        Panel(
            title=title,
            note=" ".join(filter(None, (f"{epochs} epochs.", *notes))),
            svg=plots.curves(
                name, f"{title} over {epochs} epochs: {told}", lines, from_zero
            ),
            legend=[Key(line.glyph, line.label, series(line.series)) for line in lines],
        )
    ]


def _epochs(label: str, run: Mapping[str, Any]) -> Table:
    epochs = run.get("epochs") or []
    keys = [
        key for key in dict.fromkeys(k for e in epochs for k in e) if key != "epoch"
    ]
    return Table(
        f"{label} by epoch",
        ("epoch", *(printable(key) for key in keys)),
        [(str(e["epoch"]), *(_any_size(e.get(key)) for key in keys)) for e in epochs],
    )


def _any_size(value: float | None) -> str:
    """Losses with four decimals; throughput and counts as whole numbers."""
    return number(value) if value is None or abs(value) < 1000 else f"{value:,.0f}"
