"""Confidence intervals that hold for a family of comparisons at once."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError, DataError


def max_t_intervals(
    observed: Any, replicates: Any, *, level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    r"""Simultaneous intervals from joint bootstrap replicates, by the max-t rule.

    With \(d_c\) the observed values, \(d^*_{bc}\) the replicates and \(s_c\) their
    standard deviation, each interval is \(d_c \pm t\, s_c\), where t is the `level`
    quantile over b of \(\max_c |d^*_{bc} - d_c| / s_c\). The chance that all intervals
    cover their true values is about `level`, however many there are; comparisons that
    rise and fall together cost little. With one comparison it is the usual symmetric
    bootstrap interval.

    Args:
        observed: \(d_c\), shape [comparisons].
        replicates: \(d^*_{bc}\), drawn jointly, shape [replicates, comparisons]. NaN
            where a replicate lacks a comparison's rows.
        level: Probability that all intervals stand for. Default 0.95.

    Returns:
        Lower and upper ends, float64 [comparisons]; NaN for a comparison that is NaN,
        or that half of the replicates lack.

    Raises:
        ConfigError: `level` is not between 0 and 1.
        DataError: Shapes differ, or there is no replicate.

    Example:
        >>> draws = np.random.default_rng(0).normal([1.0, 5.0], size=(1000, 2))
        >>> low, high = max_t_intervals([1.0, 5.0], draws)
        >>> [round(float(width), 1) for width in (high - low) / 2]
        [2.3, 2.2]

    Source:
        Westfall and Young, Resampling-Based Multiple Testing (1993); Romano and Wolf,
        Exact and approximate stepdown methods for multiple hypothesis testing, JASA
        100 (2005), the single step.
    """
    if not 0 < level < 1:
        raise ConfigError(f"`level` must be between 0 and 1. Received: {level}")
    observed, draws = np.asarray(observed, float), np.asarray(replicates, float)
    if observed.ndim != 1 or draws.shape[1:] != observed.shape or not len(draws):
        raise DataError(
            "`observed` must have shape [comparisons] and `replicates` [replicates, "
            f"comparisons]. Received: {list(observed.shape)} and {list(draws.shape)}"
        )
    usable = (2 * np.isnan(draws).sum(axis=0) < len(draws)) & ~np.isnan(observed)
    low, high = np.full((2, len(observed)), np.nan)
    if not usable.any():
        return low, high
    draws, centre = draws[:, usable], observed[usable]
    deviations = np.abs(draws - centre)
    spread = np.nanstd(draws, axis=0)
    # What never changes has an interval without width, whatever the others do.
    scaled = np.divide(
        deviations, spread, out=np.zeros_like(deviations), where=spread > 0
    )
    t = np.quantile(np.nanmax(scaled, axis=1, initial=0.0), level)
    low[usable], high[usable] = centre - t * spread, centre + t * spread
    return low, high
