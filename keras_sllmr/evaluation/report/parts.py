"""What a report's page is made of: sections with figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Table:
    """A captioned table; the first column names the rows, `shares` draws bars."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shares: Sequence[float] = ()


@dataclass(frozen=True)
class Key:
    """One entry of a legend."""

    glyph: str
    label: str
    series: int


@dataclass(frozen=True)
class Panel:
    """A figure with its title, a note that says what n is, and a legend."""

    title: str
    note: str
    svg: Markup
    legend: Sequence[Key] = ()


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    intro: str = ""
    panels: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    numbers: Sequence[Table] = ()
