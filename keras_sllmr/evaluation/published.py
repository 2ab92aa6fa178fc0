"""Published figures, to stand beside a comparison's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import pandas as pd

from keras_sllmr.errors import ConfigError, StoreError

_WHERE = ("domain", "backbone", "method", "metric", "slice")


def read_published(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Reads figures that others published, such as a paper's table.

    Args:
        path: a CSV file with the columns `domain`, `backbone`, `method`, `metric`,
            `slice` and `value`.

    Returns:
        These columns, a line a figure.

    Raises:
        StoreError: when the file is missing or can't be read.
        ConfigError: when a column is missing, a value is no finite number, or two
            lines are of the same figure.
    """
    try:
        lines = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} can't be read as CSV: {error}") from error
    missing = [name for name in (*_WHERE, "value") if name not in lines]
    if missing:
        raise ConfigError(
            f"Published figures have the columns {', '.join(_WHERE)} and value. "
            f"Received: {path} without {', '.join(missing)}"
        )
    values = pd.to_numeric(lines["value"], errors="coerce")
    wrong = lines[~values.abs().lt(float("inf"))]
    if len(wrong):
        raise ConfigError(
            "Published values must be finite numbers. Received: "
            f"{wrong['value'].iloc[0]!r} in line {wrong.index[0] + 2} of {path}"
        )
    again = lines[lines.duplicated(list(_WHERE))]
    if len(again):
        raise ConfigError(
            "A published figure must be given once. Received: "
            f"{' '.join(again[list(_WHERE)].iloc[0])} again in line "
            f"{again.index[0] + 2} of {path}"
        )
    return lines[list(_WHERE)].assign(value=values)


def beside(
    comparison: Mapping[str, Any], published: pd.DataFrame, *, source: str
) -> dict[str, Any]:
    """A comparison with the published figures of its own cells.

    Args:
        comparison: what `compare` gives.
        published: what `read_published` gives. Figures of other domains, backbones,
            methods, metrics or slices are left out.
        source: str. What the figures are called, such as the file's name.

    Returns:
        The comparison. Groups that have such figures get the source as `published`,
        and their methods the figures, by metric and slice, under the same name.

    Raises:
        ConfigError: when no figure is of this comparison.
    """
    of_group: dict[tuple[str, str], dict[str, Any]] = {}
    lines = published.itertuples(index=False)
    for domain, backbone, method, metric, name, value in lines:
        of_method = of_group.setdefault((domain, backbone), {}).setdefault(method, {})
        of_method.setdefault(metric, {})[name] = float(value)
    groups, some = [], False
    for group in comparison["groups"]:
        known = of_group.get((group["domain"], group["backbone"]), {})
        methods, any_here = {}, False
        for method, figures in group["methods"].items():
            found = {
                metric: kept
                for metric, by_slice in known.get(method, {}).items()
                if (kept := _shared(by_slice, figures.get(metric) or {}))
            }
            any_here |= bool(found)
            methods[method] = {**figures, **({"published": found} if found else {})}
        named = {"published": source} if any_here else {}
        groups.append({**group, **named, "methods": methods})
        some |= any_here
    if not some:
        here = ", ".join(f"{g['domain']} {g['backbone']}" for g in groups)
        raise ConfigError(
            "Published figures must be of the domains, backbones, methods, metrics and "
            f"slices that are compared. Received: {source} with none of {here}"
        )
    return {**comparison, "groups": groups}


def _shared(published: dict[str, float], ours: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in published.items() if name in ours}
