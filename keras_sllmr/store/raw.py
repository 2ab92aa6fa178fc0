"""Interactions and items as importers hand them over."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from keras_sllmr.store.columns import ColumnSpec


@dataclass(frozen=True, eq=False)
class RawData:
    """One data set after import: who interacted with what, in which order.

    Args:
        interactions: DataFrame with the columns `user` (str), `item` (str) and
            `order` (int64: a time or a position, in the unit of the source; only
            its order within a user matters). Sorted by user, then by (order, item);
            a user has an item at most once. Context columns follow.
        items: DataFrame with the columns `item` (str, unique, sorted), `text` (str,
            may be empty) and `attributes` (list of str, may be empty). Item columns
            follow.
        source: where the data came from: kind, file names and sha256, options.
        dropped: how many rows, users or items each rule dropped.
        notes: counts that are no fault, such as items without a text.
        users: DataFrame with the column `user` (str, unique) and the user columns;
            it may lack users. None without user columns.
        columns: of users, items and context beyond those above. A cell is a str of a
            categorical column, a tuple of them of a multi-valued one, a float of a
            numeric one; missing are "", () and NaN.
    """

    interactions: pd.DataFrame
    items: pd.DataFrame
    source: dict[str, Any]
    dropped: dict[str, int]
    notes: dict[str, int]
    users: pd.DataFrame | None = None
    columns: tuple[ColumnSpec, ...] = ()
