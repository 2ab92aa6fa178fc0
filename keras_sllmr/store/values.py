"""Cells of source tables as ids, orders, texts, labels, categories and numbers."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from keras_sllmr.errors import DataError

_MICROSECONDS = 1_000_000
# Leaves room in int64 for the step from seconds to microseconds.
_LARGEST_ORDER = 2.0**62
_LARGEST_NUMBER = float(np.finfo(np.float32).max)

# What holds several values a cell.
_MANY = (list, tuple, set, dict, np.ndarray)


def ids(column: pd.Series, name: str) -> tuple[np.ndarray, list[str]]:
    """Codes into the sorted distinct ids, -1 for what cannot be an id."""
    try:
        codes, values = pd.factorize(column)
    except TypeError as error:
        raise DataError(
            f"`{name}` must hold one id a row. Received: {error} in {column.dtype} data"
        ) from error
    spelled = [_id(value) for value in values]
    distinct = sorted(set(spelled) - {""})
    place = {"": -1, **{name: code for code, name in enumerate(distinct)}}
    coded = np.array([*(place[name] for name in spelled), -1], dtype=np.int64)
    return coded[codes], distinct


def _id(value: Any) -> str:
    """The id as text, or "" when it is none."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="surrogateescape")
    elif isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            return ""
        value = int(value) if value == int(value) else value
    value = str(value)
    return value if value.strip() and _is_unicode(value) else ""


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def orders(column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Orders as int64, and which of them came as a finite number or a date."""
    if pd.api.types.is_datetime64_any_dtype(column):
        return pd.DatetimeIndex(column).as_unit("us").asi8, column.notna().to_numpy()
    floats = pd.to_numeric(column, errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    usable = np.abs(floats) < _LARGEST_ORDER
    # Converted again without the rest, large whole numbers keep all their digits.
    numbers = pd.to_numeric(column[usable]).to_numpy()
    if numbers.dtype.kind not in "iu":
        numbers = numbers.astype(np.float64)
        if np.any(numbers != np.floor(numbers)):
            numbers = np.round(numbers * _MICROSECONDS)
            usable[usable] = fits = np.abs(numbers) < _LARGEST_ORDER
            numbers = numbers[fits]
    orders = np.zeros(len(column), dtype=np.int64)
    orders[usable] = numbers.astype(np.int64)
    return orders, usable


def text_of(value: Any) -> str:
    """A text cell, "" when it is missing."""
    if not isinstance(value, str):
        if value is None or pd.isna(value):
            return ""
        value = str(value)
    return value.encode("utf-8", errors="replace").decode("utf-8").strip()


def labels_of(value: Any) -> list[str]:
    """An attribute cell, one value or several, as distinct labels."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        value = [value]
    labels = (text_of(label) for label in value)
    return list(dict.fromkeys(label for label in labels if label))


def category_of(value: Any) -> str | None:
    """One value as text, "" when it is missing, None when it is not one value.

    Example:
        >>> category_of(" F "), category_of(3.0), category_of(None), category_of([1])
        ('F', '3', '', None)
    """
    if isinstance(value, _MANY):
        return None
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    elif isinstance(value, (float, np.floating)) and float(value).is_integer():
        # A column of integers with gaps comes as floats.
        value = int(value)
    return text_of(value)


def categories_of(value: Any) -> tuple[str, ...] | None:
    """One value or several as distinct texts, None when there are lists in lists.

    Example:
        >>> categories_of(["a", 2.0, None, "a"]), categories_of([["a"]])
        (('a', '2'), None)
    """
    several = isinstance(value, (list, tuple, np.ndarray))
    texts = [category_of(part) for part in (value if several else [value])]
    if None in texts:
        return None
    return tuple(dict.fromkeys(text for text in texts if text))


def number_of(value: Any) -> float | None:
    """A finite number in float32, NaN when it is missing, None when it is none.

    Example:
        >>> number_of("2.5"), number_of(""), number_of("old"), number_of(1e99)
        (2.5, nan, None, None)
    """
    if isinstance(value, _MANY):
        return None
    if value is None or value is pd.NaT or value is pd.NA or value in ("", b""):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan if isinstance(value, str) and not value.strip() else None
    return None if abs(number) > _LARGEST_NUMBER else number


def shown(value: Any) -> str:
    """A value as an error message shows it, cut to 40 characters."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else text[:37] + "..."
