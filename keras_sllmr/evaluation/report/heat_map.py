"""A heat map whose cells say their values."""

from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from keras_sllmr.evaluation.report.svg import INK, SERIES, inline_svg

# Pale enough for the page's ink to be read on, by light and in the dark.
_PALEST, _DEEPEST = 0.06, 0.5


def heat_map(
    name: str,
    label: str,
    cells: Sequence[Sequence[float | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    row_name: str,
    column_name: str,
) -> Markup:
    """Draws values in a grid, the deeper coloured the larger, with their numbers.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        cells: the values by `[row][column]`; `None` leaves a cell empty.
        rows: titles of the rows, from the top.
        columns: titles of the columns.
        row_name: what the rows differ by.
        column_name: what the columns differ by.
    """
    known = [value for row in cells for value in row if value is not None]
    low, high = min(known), max(known)

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for y, row in enumerate(cells):
            for x, value in enumerate(row):
                share = 0.0
                if value is not None:
                    share = (value - low) / (high - low) if high > low else 1.0
                depth = _PALEST + share * (_DEEPEST - _PALEST)
                paint = (SERIES[1], 0.0 if value is None else depth)
                axes.add_patch(
                    Rectangle((x - 0.48, y - 0.46), 0.96, 0.92, facecolor=paint)
                )
                text = "–" if value is None else f"{value:.3f}"
                axes.text(x, y, text, ha="center", va="center")
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), columns)
        axes.set_yticks(range(len(rows)), rows)
        axes.grid(False)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel(column_name, color=INK)
        axes.set_ylabel(row_name, color=INK)

    return inline_svg(name, label, draw, 60 + 38 * max(2, len(rows)))
