"""The report's section on training: curves by epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.evaluation.report import plots
from keras_sllmr.evaluation.report.comparison import labels, places
from keras_sllmr.evaluation.report.parts import Key, Panel, Section, Table
from keras_sllmr.evaluation.report.plots import Line
from keras_sllmr.evaluation.report.svg import series
from keras_sllmr.evaluation.report.wording import number, printable

_VALIDATION = "val_auc_sampled"


def training_section(metrics: Mapping[str, Any]) -> Section:
    """Curves of the validation AUC and of the losses, the best epochs ringed."""
    training, names = metrics.get("training") or {}, labels(metrics)
    runs = {name: training[name] for name in names if name in training}
    place = places(metrics)

    def line(name: str, key: str, label: str = "", dashed: bool = False) -> Line:
        return Line(
            label=names[name] + label,
            points=epoch_points(runs[name], key),
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
        *curve_panel(
            "validation",
            _VALIDATION,
            [line(name, _VALIDATION) for name in runs],
            ("Ring: best epoch.", _of(metrics, "users", "users")),
        ),
        *curve_panel("loss", "Training loss", losses, ("Ring: best epoch.", rows)),
    ]
    for key, title in (("pair_loss", "Pair loss"), ("gate_loss", "Gate loss")):
        # A method without this loss may log it as zero.
        lines = [line(name, key) for name in runs]
        lines = [one for one in lines if any(y for _, y in one.known)]
        panels += curve_panel(key, title, lines, ("Ring: best epoch.", rows))
    return Section(
        "Training",
        intro="The best epoch is the one with the highest validation AUC; the test "
        "rows take no part in choosing it.",
        panels=panels,
        numbers=[_epochs(names[name], run) for name, run in runs.items()],
    )


def epoch_points(run: Mapping[str, Any], key: str) -> list[tuple[float, float | None]]:
    """A logged value by epoch."""
    return [(epoch["epoch"], epoch.get(key)) for epoch in run.get("epochs") or ()]


def _of(metrics: Mapping[str, Any], count: str, what: str) -> str:
    """A note on n, when the store's counts have it."""
    value = (metrics.get("store") or {}).get(count)
    return "" if value is None else f"n = {value:,} {what}."


def curve_panel(
    name: str,
    title: str,
    lines: Sequence[Line],
    notes: Sequence[str],
    from_zero: bool = False,
) -> list[Panel]:
    """A figure of the curves that have a value; nothing where none has."""
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
