"""Figures as SVG for a page: they scale with it and take its colours and font."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib.style
from markupsafe import Markup, escape
from matplotlib.figure import Figure

# What matplotlib draws in these stand-in colours, the page's style sheet decides.
INK = "#010000"
SERIES = tuple(f"#0{place + 2}0000" for place in range(7))
_PAINTS = {INK: "currentColor"} | {
    stand_in: f"var(--series-{place})" for place, stand_in in enumerate(SERIES)
}
_WIDTH = 360
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "keras_sllmr",
    "text.parse_math": False,
    "font.size": 12,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


def series(place: int) -> int:
    """The colour for the method at `place`: the baseline's own, else one of six."""
    return 0 if place == 0 else (place - 1) % (len(SERIES) - 1) + 1


def inline_svg(
    name: str, label: str, draw: Callable[[Figure], None], height: float = 240
) -> Markup:
    """Draws a figure as an SVG element to stand in a page.

    Equal drawings give equal bytes, whatever matplotlib settings the user has; these
    are as before afterwards.

    Args:
        name: prefix of the ids in the SVG, unique in the page.
        label: what the figure shows, for who cannot see it.
        draw: draws on the figure it is given, in `INK` and `SERIES`.
        height: in units of which the figure is 360 wide. Default: 240.
    """
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        # The page's fonts draw the text, so it matters little what this one lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(_WIDTH / 72, height / 72))
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    body = buffer.getvalue().split("<svg", 1)[1].split(">", 1)[1].strip()
    # The page has a style of its own, and namespaces mean nothing in HTML.
    body = re.sub(r"<(metadata|style)\b.*?</\1>\s*", "", body, flags=re.DOTALL)
    # One page holds many figures, and an id may stand in it but once.
    body = body.replace(' id="', f' id="{name}-')
    body = body.replace("url(#", f"url(#{name}-")
    body = body.replace('xlink:href="#', f'href="#{name}-')
    body = re.sub(r"'DejaVu Sans'[^;\"]*", _FONT, body)
    for stand_in, paint in _PAINTS.items():
        body = body.replace(stand_in, paint)
    box = f'viewBox="0 0 {_WIDTH} {height:g}"'
    return Markup(f'<svg {box} role="img" aria-label="{escape(label)}">{body}')
