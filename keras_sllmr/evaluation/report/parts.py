"""What a report's page is made of: sections with figures and tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from keras_sllmr.evaluation.report.comparison import ComparisonRow


@dataclass(frozen=True)
class Table:
    """A captioned table; the first column names the rows, `shares` draws bars."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    shares: Sequence[float] = ()


@dataclass(frozen=True)
class MethodRow:
    """A row of a table of methods: its title, and the test rows behind it."""

    title: str
    values: ComparisonRow
    rows: int | None = None


@dataclass(frozen=True)
class MethodTable:
    """Methods side by side, in bodies of rows below a heading each.

    Args:
        caption: what stands above the table.
        corner: what the first column holds.
        labels: method to label, the columns.
        baseline: the method that the others are compared with.
        bodies: (heading, rows).
        folded: the summary to fold the table under. Defaults to not folded.
    """

    caption: str
    corner: str
    labels: Mapping[str, str]
    baseline: str
    bodies: Sequence[tuple[str, Sequence[MethodRow]]]
    folded: str = ""

    @property
    def compared(self) -> bool:
        """Whether any method was compared with the baseline."""
        return any(row.values.differences for _, rows in self.bodies for row in rows)


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
    """A heading and what stands below it; `points` are a list, `numbers` folded."""

    title: str
    intro: str = ""
    points: Sequence[str] = ()
    methods: Sequence[MethodTable] = ()
    panels: Sequence[Panel] = ()
    tables: Sequence[Table] = ()
    numbers: Sequence[Table] = ()
    summary: str = "Numbers of the figures"

    def __bool__(self) -> bool:
        """Whether it has anything to show."""
        return bool(self.points or self.methods or self.panels or self.tables)
