"""Numbers, titles and lists as the terminal and the reports print them."""

import math
from collections.abc import Sequence

from keras_sllmr.evaluation.verdict import LOWER_IS_BETTER

# As a row's title, and inside a sentence.
_SLICES = {
    "all": ("all", "all rows"),
    "cold": ("cold", "cold users"),
    "tail": ("tail", "long-tail items"),
    "tail_rows": ("tail rows", "long-tail rows"),
}


def metric_title(metric: str) -> str:
    """The metric as a table names it."""
    lower = " (lower is better)" if metric in LOWER_IS_BETTER else ""
    return printable(metric) + lower


def slice_title(slice_: str) -> str:
    """The slice as a table names it."""
    return _SLICES.get(slice_, (printable(slice_),) * 2)[0]


def slice_phrase(slice_: str) -> str:
    """The slice as a sentence names it."""
    return _SLICES.get(slice_, (printable(slice_),) * 2)[1]


def printable(text: object) -> str:
    """Text from outside, without the control characters that drive terminals."""
    return "".join(c if c.isprintable() else " " for c in str(text))


def number(value: float | None) -> str:
    """A metric with four decimals, as the field prints AUCs; a dash for none."""
    return "-" if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference with its sign and without a leading zero.

    Example:
        >>> signed(0.012), signed(-0.5), signed(-0.00001), signed(1.5)
        ('+.0120', '-.5000', '+.0000', '+1.5000')
    """
    # Adding zero turns a rounded -0.0 into 0.0.
    text = f"{round(value, 4) + 0.0:+.4f}"
    return text[0] + text[2:] if text[1] == "0" else text


def seconds(value: float) -> str:
    """Wall time for people.

    Example:
        >>> seconds(1.23), seconds(75), seconds(7261)
        ('1.2 s', '1 min 15 s', '2 h 01 min')
    """
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def listed(items: Sequence[str]) -> str:
    """Things in a sentence: commas, and an `and` before the last."""
    if len(items) == 1:
        return items[0]
    return ", ".join(items[:-1]) + " and " + items[-1]
