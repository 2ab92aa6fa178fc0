"""The report's plots.

Labels of methods are not drawn: they belong into the page's legends, where the
template escapes them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from keras_sllmr.evaluation.report.svg import INK, SERIES, inline_svg, series

_CHANCE = 0.5
_STEPS = [1, 2, 5, 10]
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_FILLED = ("●", "■", "▲", "◆", "▼", "✚", "✖")
_HOLLOW = ("○", "□", "△", "◇", "▽", "✛", "✕")


@dataclass(frozen=True)
class Line:
    """One curve: its points, and which of the page's series it belongs to.

    Args:
        label: what the legend calls it.
        points: (x, y); points whose y is None are left out.
        series: 0 is the baseline; beyond six, colours come round again.
        dashed: a second curve of the same series. Default: False.
        best: the x to ring. Default: none.
    """

    label: str
    points: Sequence[tuple[float, float | None]]
    series: int
    dashed: bool = False
    best: float | None = None

    @property
    def known(self) -> list[tuple[float, float]]:
        """The points that have a value."""
        return [(x, y) for x, y in self.points if y is not None]

    @property
    def glyph(self) -> str:
        """The marker as a character, for the legend."""
        return (_HOLLOW if self.dashed else _FILLED)[self.series % len(_FILLED)]


def curves(
    name: str, label: str, lines: Iterable[Line], from_zero: bool = False
) -> Markup:
    """Draws values by epoch, the best epoch ringed.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        lines: the curves.
        from_zero: whether the vertical axis begins at 0. Default: False.
    """

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for line in lines:
            paint = SERIES[series(line.series)]
            axes.plot(
                [x for x, _ in line.known],
                [y for _, y in line.known],
                color=paint,
                linestyle=(0, (4, 2)) if line.dashed else "solid",
                marker=_MARKERS[line.series % len(_MARKERS)],
                markerfacecolor="none" if line.dashed else paint,
            )
            ringed = [(x, y) for x, y in line.known if x == line.best]
            if ringed:
                axes.plot(
                    *ringed[0],
                    marker="o",
                    markersize=11,
                    markerfacecolor="none",
                    markeredgecolor=INK,
                    markeredgewidth=1.3,
                )
        axes.xaxis.set_major_locator(
            MaxNLocator(8, integer=True, min_n_ticks=1, steps=_STEPS)
        )
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.margins(x=0.05, y=0.12)
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.set_xlabel("epoch")

    return inline_svg(name, label, draw)


def reliability(name: str, label: str, bins: Sequence[Mapping[str, Any]]) -> Markup:
    """Draws how often the teacher orders a pair rightly, by its score gap.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        bins: `gap_low`, `gap_high`, `gap` (mean), `pairs` and `accuracy` of each.
    """
    known = [one for one in bins if one["pairs"] and one["accuracy"] is not None]
    paint = SERIES[1]

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, sharex=True, height_ratios=[3, 1.2])
        values = [one["accuracy"] for one in known]
        upper.axhline(_CHANCE, color=INK, linestyle=(0, (4, 3)), linewidth=1)
        upper.plot([one["gap"] for one in known], values, color=paint, marker="o")
        bottom, top = min([*values, _CHANCE]), max([*values, _CHANCE])
        room = 0.12 * max(top - bottom, 0.1)
        upper.set_ylim(bottom - room, top + room)
        upper.set_ylabel("accuracy")
        upper.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        upper.tick_params(axis="x", length=0)
        _count_bars(lower, bins, paint)
        lower.set_xlabel("gap of the two scores")

    return inline_svg(name, label, draw, height=270)


def calibration(
    name: str,
    label: str,
    bins: Sequence[Mapping[str, Any]],
    place: int,
    came_true: str,
) -> Markup:
    """Draws stated chances against what came true; the diagonal is perfect.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        bins: `chance` and `accuracy` of each.
        place: the series whose colour and marker the points have.
        came_true: what the vertical axis shows.
    """
    paint = SERIES[series(place)]

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        stated = [one["chance"] for one in bins]
        found = [one["accuracy"] for one in bins]
        low, high = min(stated + found), max(stated + found)
        room = 0.08 * max(high - low, 0.1)
        ends = (max(low - room, -0.04), min(high + room, 1.04))
        axes.plot(ends, ends, color=INK, linestyle=(0, (4, 3)), linewidth=1)
        axes.plot(stated, found, color=paint, marker=_MARKERS[place % len(_MARKERS)])
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        axes.set(xlim=ends, ylim=ends, xlabel="stated chance", ylabel=came_true)

    return inline_svg(name, label, draw, height=270)


def _count_bars(axes: Axes, bins: Sequence[Mapping[str, Any]], paint: str) -> None:
    axes.bar(
        [one["gap_low"] for one in bins],
        [one["pairs"] for one in bins],
        [one["gap_high"] - one["gap_low"] for one in bins],
        align="edge",
        color=(paint, 0.45),
        # A bin whose pairs all have one gap has no width, and still shows.
        edgecolor=paint,
        linewidth=0.8,
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(MaxNLocator(2, integer=True, steps=_STEPS))
    axes.set_ylabel("pairs")
