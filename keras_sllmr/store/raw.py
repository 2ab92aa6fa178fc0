"""Interactions and items as importers hand them over."""

from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True, eq=False)
class RawData:
    """One data set after import: who interacted with what, in which order.

    Args:
        interactions: DataFrame with the columns `user` (str), `item` (str) and
            `order` (int64: a time or a position, in the unit of the source; only
            its order within a user matters). Sorted by user, then by (order, item);
            a user has an item at most once.
        items: DataFrame with the columns `item` (str, unique, sorted), `text` (str,
            may be empty) and `attributes` (list of str, may be empty).
        source: where the data came from: kind, file names and sha256, options.
        dropped: how many rows, users or items each rule dropped.
        notes: counts that are no fault, such as items without a text.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    source: dict[str, Any]
    dropped: dict[str, int]
    notes: dict[str, int]
