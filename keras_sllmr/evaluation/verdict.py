"""Better, worse or level: what an interval of a difference says."""

from typing import Literal

#: Metrics of which less is better.
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece"})


def verdict(
    metric: str, low: float, high: float
) -> Literal["better", "worse", "level"]:
    """`better` or `worse` when the interval excludes zero, else `level`.

    Args:
        metric: name of the metric.
        low: lower end of the interval of model less baseline.
        high: upper end; NaN for an interval without bounds.

    Example:
        >>> verdict("auc_full", 0.01, 0.02), verdict("log_loss", 0.01, 0.02)
        ('better', 'worse')
    """
    # Written so that an interval without bounds (NaN) is level, too.
    if not (low > 0 or high < 0):
        return "level"
    improved = (high < 0) == (metric in LOWER_IS_BETTER)
    return "better" if improved else "worse"
