"""Rows of different lengths in two flat arrays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Ragged:
    """Variable-length rows of integers.

    Args:
        values: int array `[total]`. All rows one after the other.
        offsets: int64 array `[rows + 1]`. Row i is `values[offsets[i]:offsets[i+1]]`.

    Example:
        >>> rows = Ragged.from_rows([[7, 8], [], [9]])
        >>> rows.lengths.tolist(), rows.row(2).tolist()
        ([2, 0, 1], [9])
    """

    values: np.ndarray
    offsets: np.ndarray

    @classmethod
    def from_rows(cls, rows: Iterable[Sequence[int]]) -> "Ragged":
        """Packs a list of rows."""
        arrays = [np.asarray(row, np.int64) for row in rows]
        lengths = [len(array) for array in arrays]
        values = np.concatenate([np.zeros(0, np.int64), *arrays])
        return cls(values, np.cumsum([0, *lengths], dtype=np.int64))

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row, int64 `[rows]`."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def row(self, index: int) -> np.ndarray:
        """One row's values."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def row_of_value(self) -> np.ndarray:
        """For every value the index of its row, int64 `[total]`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def padded(self, width: int) -> np.ndarray:
        """The first `width` values of each row, zero-padded: int32 `[rows, width]`."""
        columns = np.arange(width)
        index = self.offsets[:-1, None] + columns
        inside = columns < self.lengths[:, None]
        if not len(self.values):
            return np.zeros((len(self), width), np.int32)
        index = np.minimum(index, len(self.values) - 1)
        return np.where(inside, self.values[index], 0).astype(np.int32)
