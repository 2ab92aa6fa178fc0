"""Rules on the rows of a table: the bad ones are an error, or dropped and counted."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from keras_sllmr.errors import DataError
from keras_sllmr.store.columns import ColumnSpec
from keras_sllmr.store.values import shown

_EXAMPLES = 3


@dataclass
class Sieve:
    """Applies a rule to a table: raises, or drops the rows that break it and counts."""

    on_bad: str
    dropped: dict[str, int]

    def keep(
        self,
        table: pd.DataFrame,
        bad: pd.Series,
        kind: str,
        rule: str,
        found: str,
        given: pd.DataFrame,
    ) -> pd.DataFrame:
        """Returns the rows of `table` that are not `bad`; its index points at `given`."""
        count = int(bad.sum())
        self.count(kind, count)
        if not count:
            return table
        if self.on_bad == "raise":
            label = given.index.name or "row"
            examples = "; ".join(
                f"{label} {given.index[place]}: "
                + ", ".join(shown(value) for value in given.iloc[place])
                for place in table.index[bad][:_EXAMPLES]
            )
            raise DataError(
                f"{rule} Received: {count} {'row' if count == 1 else 'rows'} {found} "
                f"({examples}). Fix them, or drop them with --on-bad drop "
                '(in Python: on_bad="drop").'
            )
        return table[~bad]

    def count(self, kind: str, count: int) -> None:
        """Counts rows that are left out."""
        self.dropped[kind] = self.dropped.get(kind, 0) + count


def chosen(
    given: pd.DataFrame,
    roles: Sequence[str],
    columns: Sequence[ColumnSpec],
    what: str,
) -> pd.DataFrame:
    """The columns that are read, all of which must be there."""
    wanted = [*roles, *(column.name for column in columns)]
    missing = [name for name in wanted if name not in given]
    if missing:
        raise DataError(
            f"The {what} need the columns {wanted}. Received: {list(given.columns)}, "
            f"without {missing}"
        )
    return given[wanted]
