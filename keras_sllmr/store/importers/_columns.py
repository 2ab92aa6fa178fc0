"""Compact columns that line-by-line readers fill for `clean`."""

import html
from array import array
from collections.abc import Iterable
from typing import Any

import pandas as pd


class EventColumns:
    """Interactions, one `add` a line, at some twenty bytes each.

    Example:
        >>> events = EventColumns()
        >>> events.add(1, "u1", "i1", "881250949")
        >>> events.table().to_dict("records")
        [{'user': 'u1', 'item': 'i1', 'order': 881250949.0}]
    """

    def __init__(self) -> None:
        self._ids: tuple[dict[str, int], dict[str, int]] = ({}, {})
        self._codes = (array("i"), array("i"))
        self._orders = array("d")
        self._lines = array("q")

    def add(self, line: int, user: Any, item: Any, order: Any) -> None:
        """Adds one event; a missing id or an order that is no number stays missing."""
        for value, ids, codes in zip((user, item), self._ids, self._codes, strict=True):
            missing = value is None or value == ""
            codes.append(-1 if missing else ids.setdefault(str(value), len(ids)))
        try:
            self._orders.append(float(order))
        except (TypeError, ValueError, OverflowError):
            self._orders.append(float("nan"))
        self._lines.append(line)

    def table(self) -> pd.DataFrame:
        """The columns `user`, `item` and `order`, indexed by line number."""
        user, item = (
            pd.Categorical.from_codes(codes, categories=pd.Index(ids, dtype=object))
            for ids, codes in zip(self._ids, self._codes, strict=True)
        )
        index = pd.Index(self._lines, dtype="int64", name="line")
        columns = {"user": user, "item": item, "order": self._orders}
        return pd.DataFrame(columns, index=index)


class ItemColumns:
    """Items, one `add` a line."""

    def __init__(self) -> None:
        self._items: list[Any] = []
        self._texts: list[str] = []
        self._attributes: list[list[str]] = []
        self._lines: list[int] = []

    def add(self, line: int, item: Any, text: str, attributes: list[str]) -> None:
        """Adds one item with its text and its attributes."""
        self._items.append(item)
        self._texts.append(text)
        self._attributes.append(attributes)
        self._lines.append(line)

    def table(self) -> pd.DataFrame:
        """The columns `item`, `text` and `attributes`, indexed by line number."""
        columns = {
            "item": self._items,
            "text": self._texts,
            "attributes": self._attributes,
        }
        # Object columns take what a str column refuses; `clean` judges it.
        index = pd.Index(self._lines, dtype="int64", name="line")
        return pd.DataFrame(columns, index=index, dtype=object)


def texts(value: Any) -> list[str]:
    """The distinct non-empty strings of a value: none, one, or nested lists of them.

    HTML entities and runs of white space are resolved.

    Example:
        >>> texts([["Bath &amp; Body", "Soap"], ["Bath & Body", " "], None])
        ['Bath & Body', 'Soap']
    """
    return list(dict.fromkeys(text for text in _flat(value) if text))


def labels(name: str, value: Any) -> list[str]:
    """The attributes "name=..." of a value as `texts` takes it.

    Example:
        >>> labels("genre", ["Drama", "War"])
        ['genre=Drama', 'genre=War']
    """
    return [f"{name}={text}" for text in texts(value)]


def _flat(value: Any) -> Iterable[str]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    elif value is not None:
        yield " ".join(html.unescape(str(value)).split())
