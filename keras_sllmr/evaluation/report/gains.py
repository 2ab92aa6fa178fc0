"""Plots of differences to the baseline: bars after the paper's Figure 2, and dots.

Short categories stand side by side; many or long ones below each other, where their
names have room.
"""

import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from keras_sllmr.evaluation.report.comparison import Difference
from keras_sllmr.evaluation.report.svg import INK, SERIES, inline_svg, series

# In units of which a figure is 360 wide.
_ROOM, _LETTER, _LINE, _MARK, _GAP = 300, 7.4, 15, 12, 12
_LETTERS, _LINES = 18, 3


class _Wrapper(textwrap.TextWrapper):
    """Breaks lines at spaces, and after what joins the words of a name."""

    wordsep_re = re.compile(r"(\s+|(?<=[_/-]))")


@dataclass(frozen=True)
class Mark:
    """One difference to draw, and the series whose colour it has."""

    series: int
    difference: Difference | None


@dataclass(frozen=True)
class Category:
    """Marks that share a place on the axis: of one slice, or of one backbone.

    Args:
        title: what the axis calls it.
        marks: as many in each category of a figure.
        rows: the number of test rows, to show below. Defaults to none.
    """

    title: str
    marks: Sequence[Mark]
    rows: int | None = None

    @property
    def lines(self) -> list[str]:
        """The title, wrapped and cut to what has room, and the count."""
        lines = _Wrapper(_LETTERS).wrap(self.title) or [""]
        if len(lines) > _LINES:
            # Names often differ at their ends.
            lines = [*lines[: _LINES - 1], f"…{self.title[1 - _LETTERS :]}"]
        return lines if self.rows is None else [*lines, f"n = {self.rows:,}"]


def gain_bars(name: str, label: str, categories: Sequence[Category]) -> Markup:
    """Draws differences as bars with their intervals.

    A bar is pale where the interval includes zero.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        categories: what to draw.
    """
    return _drawn(name, label, categories, _bar, flat=not _side_by_side(categories))


def seed_dots(name: str, label: str, categories: Sequence[Category]) -> Markup:
    """Draws each seed's difference as a ring, and the mean with its interval.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        categories: what to draw.
    """
    return _drawn(name, label, categories, _dots, flat=True)


def _side_by_side(categories: Sequence[Category]) -> bool:
    """Whether bars and titles have room beside each other, the titles even aslant."""
    place = _ROOM / max(1, len(categories))
    marks = max((len(c.marks) for c in categories), default=0)
    if marks * 6 > 0.72 * place:
        return False
    short = all(len(c.lines) == 1 and len(c.title) <= 10 for c in categories)
    return _level(categories) or (short and place > 2 * _LINE)


def _level(categories: Sequence[Category]) -> bool:
    """Whether the titles have room beside each other."""
    letters = max((len(line) for c in categories for line in c.lines), default=0)
    return letters * _LETTER <= _ROOM / max(1, len(categories)) - 4


def _drawn(
    name: str,
    label: str,
    categories: Sequence[Category],
    mark: Callable[[Axes, float, float, Difference, str, bool], None],
    *,
    flat: bool,
) -> Markup:
    count = max((len(c.marks) for c in categories), default=1)
    width = 0.72 / count

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, category in enumerate(categories):
            for slot, one in enumerate(category.marks):
                if one.difference is not None:
                    at = place + (slot - (count - 1) / 2) * width
                    thick = (0.62 if count == 1 else 0.9) * width
                    paint = SERIES[series(one.series)]
                    mark(axes, at, thick, one.difference, paint, flat)
        titles = ["\n".join(category.lines) for category in categories]
        ends = (-0.6, len(categories) - 0.4)
        if flat:
            axes.axvline(0, color=INK, linewidth=0.8)
            axes.set_yticks(range(len(categories)), titles)
            axes.set_ylim(*ends[::-1])
            axes.grid(False, axis="y")
            axes.grid(True, axis="x")
        else:
            axes.axhline(0, color=INK, linewidth=0.8)
            axes.set_xticks(range(len(categories)), titles)
            axes.set_xlim(*ends)
            if not _level(categories):
                axes.tick_params(axis="x", rotation=35, pad=1)
                for title in axes.get_xticklabels():
                    title.set(ha="right", rotation_mode="anchor")
        axes.tick_params(axis="y" if flat else "x", length=0)
        values = axes.xaxis if flat else axes.yaxis
        values.set_major_formatter(FuncFormatter(_signed_tick))
        values.set_major_locator(MaxNLocator(5 if flat else 7, steps=[1, 2, 5, 10]))
        values.set_label_text("gain")

    heights = (max(len(c.lines) * _LINE, count * _MARK) + _GAP for c in categories)
    return inline_svg(name, label, draw, 50 + sum(heights) if flat else 240)


def _bar(
    axes: Axes, at: float, thick: float, one: Difference, paint: str, flat: bool
) -> None:
    (axes.barh if flat else axes.bar)(
        at,
        one.difference,
        thick,
        color=(paint, 0.3 if one.verdict == "level" else 1.0),
        edgecolor=paint,
        linewidth=1.0,
    )
    _whisker(axes, at, one, flat)


def _dots(
    axes: Axes, at: float, thick: float, one: Difference, paint: str, flat: bool
) -> None:
    _whisker(axes, at, one, flat)
    seeds = list(one.by_seed)
    axes.plot(
        seeds,
        [at] * len(seeds),
        marker="o",
        markersize=6,
        markerfacecolor="none",
        markeredgecolor=paint,
        markeredgewidth=1.3,
        linestyle="none",
    )
    axes.plot(one.difference, at, marker="D", color=paint, markersize=4.5)


def _whisker(axes: Axes, at: float, one: Difference, flat: bool) -> None:
    ends, across = [one.low, one.high], [at, at]
    axes.plot(
        *((ends, across) if flat else (across, ends)),
        color=INK,
        linewidth=1.2,
        marker="|" if flat else "_",
        markersize=7,
    )


def _signed_tick(value: float, _: int) -> str:
    if abs(value) < 1e-9:
        return "0"
    text = f"{value:+.4f}".removesuffix("0")
    if abs(value) < 1e-4:
        text = f"{value:+.0e}"
    return text.replace("-", "\N{MINUS SIGN}")
