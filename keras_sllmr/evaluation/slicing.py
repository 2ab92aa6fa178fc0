"""Slices that a user defines: by history length, popularity or a column."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import Settings
from keras_sllmr.store.columns import Column
from keras_sllmr.store.split import LeaveOneOut, Targets

_COUNTS = ("history_length", "popularity")
_MOST_VALUES = 20


class SliceSettings(Settings):
    """Slices of the test rows by one property of theirs.

    Numbers are cut into buckets at `edges` or `quantiles`; of a column with
    categories each of `values` is a slice, and a row with several values is in
    several slices. A row whose value is not known is in none.

    Args:
        by: str. `history_length`, the user's training events; `popularity`, the
            training events of the row's positive; or a column of the store.
        edges: numbers that rise. Each bucket is `low <= value < high`, and the first
            and the last are open.
        quantiles: int. In place of `edges`, so many buckets of about as many rows.
        values: of a categorical or multi-valued column. Defaults to all, if they are
            at most 20.

    Example:
        >>> SliceSettings(by="history_length", edges=(4, 16)).by
        'history_length'
    """

    by: str
    edges: tuple[float, ...] | None = Field(None, min_length=1)
    quantiles: int | None = Field(None, ge=2)
    values: tuple[str, ...] | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _check(self) -> SliceSettings:
        given = [
            name
            for name in ("edges", "quantiles", "values")
            if getattr(self, name) is not None
        ]
        if len(given) > 1 or (self.by in _COUNTS and given in ([], ["values"])):
            raise ValueError(
                "a slice needs one of edges, quantiles and values, and "
                f"{' and '.join(_COUNTS)} one of the first two, got by={self.by!r} "
                f"with {' and '.join(given) or 'none'}"
            )
        if self.edges and list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"`edges` must rise, got {list(self.edges)}")
        return self


def slice_masks(
    setting: SliceSettings, split: LeaveOneOut, targets: Targets
) -> dict[str, np.ndarray]:
    """The slices that a setting names, as masks over test rows.

    Args:
        setting: what to slice by.
        split: the store's split.
        targets: the test rows.

    Returns:
        Name to bool [rows]. Names are such as `history_length < 4`,
        `4 <= history_length < 16` and `genres: Drama`.

    Raises:
        ConfigError: when the store has no such column, or it does not go with the
            rest of the setting.
    """
    if setting.by == "history_length":
        return _buckets(setting, split.train_lengths[targets.users])
    if setting.by == "popularity":
        return _buckets(setting, split.train_counts[targets.items])
    columns = split.store.columns
    if setting.by not in columns:
        raise ConfigError(
            f"evaluate.slices.by must be one of {', '.join([*_COUNTS, *columns])}. "
            f"Received: {setting.by!r}"
        )
    column = columns[setting.by]
    numeric = column.kind == "numeric"
    if numeric != (setting.edges is not None or setting.quantiles is not None):
        needed = "edges or quantiles" if numeric else "values, or nothing"
        raise ConfigError(
            f"The slices by the {column.kind} column {setting.by!r} need {needed}. "
            f"Received: {setting.model_dump(exclude_none=True)}"
        )
    rows = _rows_of(column, split, targets)
    if numeric:
        return _buckets(setting, column.values[rows])
    return _categories(setting, column, rows)


def _rows_of(column: Column, split: LeaveOneOut, targets: Targets) -> np.ndarray:
    if column.entity == "context":
        return np.asarray(split.store.events.offsets[targets.users] + targets.positions)
    return targets.users if column.entity == "user" else targets.items


def _buckets(setting: SliceSettings, values: Any) -> dict[str, np.ndarray]:
    values = np.asarray(values, np.float64)
    if setting.edges is not None:
        edges = np.asarray(setting.edges)
    else:
        inner = np.arange(1, setting.quantiles or 2) / (setting.quantiles or 2)
        known = values[~np.isnan(values)]
        # A value that occurs, so that names stay short and buckets differ.
        edges = np.unique(
            np.quantile(known, inner, method="higher") if len(known) else []
        )
        edges = edges[edges > known.min(initial=np.inf)]  # or the first bucket is empty
    bounds = [-np.inf, *edges, np.inf]
    return {
        _bucket_name(setting.by, low, high): (low <= values) & (values < high)
        for low, high in pairwise(bounds)
    }


def _bucket_name(by: str, low: float, high: float) -> str:
    if low == -np.inf:
        return f"{by} < {high:g}" if high < np.inf else f"{by} known"
    return f"{by} >= {low:g}" if high == np.inf else f"{low:g} <= {by} < {high:g}"


def _categories(
    setting: SliceSettings, column: Column, rows: np.ndarray
) -> dict[str, np.ndarray]:
    assert column.vocabulary is not None, "only numbers have no vocabulary"
    known = column.vocabulary[1:].tolist()
    values = list(setting.values or known)
    unknown = sorted(set(values) - set(known))
    if unknown or len(values) > _MOST_VALUES:
        raise ConfigError(
            f"evaluate.slices.values must name at most {_MOST_VALUES} values of the "
            f"column {column.name!r}, such as {', '.join(known[:5])}. Received: "
            + (f"unknown {', '.join(unknown)}" if unknown else f"{len(values)} values")
        )
    found = {}
    for value in values:
        index = 1 + known.index(value)
        if column.kind == "multi":
            holds = np.zeros(len(column.values), bool)
            holds[column.values.row_of_value()[column.values.values == index]] = True
        else:
            holds = np.asarray(column.values == index)
        found[f"{column.name}: {value}"] = holds[rows]
    return found
