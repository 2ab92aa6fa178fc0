"""Ranges of sorted ids: parts of a data set that can be worked on alone."""

import bisect
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: ids that a sample holds at most: enough for ranges of about equal size.
_SAMPLE = 4096


@dataclass(frozen=True)
class IdRanges:
    """Ids dealt out by their order, so that sorted ranges one after another are sorted.

    Args:
        starts: the first possible id of each range but the first, ascending.

    Example:
        >>> ranges = IdRanges(("h", "p"))
        >>> [ranges.of(name) for name in ("anna", "h", "otto", "zoe")]
        [0, 1, 1, 2]
    """

    starts: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.starts) + 1

    def of(self, name: str) -> int:
        """The range of an id; the empty one is in the first."""
        return bisect.bisect_right(self.starts, name)

    @classmethod
    def balanced(cls, sample: Sequence[str], parts: int) -> "IdRanges":
        """About `parts` ranges that hold about equally many of a sample.

        Args:
            sample: different ids, sorted.
            parts: int ≥ 1.

        Example:
            >>> IdRanges.balanced(["a", "b", "c", "d"], 2).starts
            ('c',)
        """
        places = (part * len(sample) // parts for part in range(1, parts))
        return cls(tuple(dict.fromkeys(sample[k] for k in places if k)))


def sampled(ids: Iterable[str], *, most: int = _SAMPLE) -> list[str]:
    """A sample of different ids, sorted, that depends on which there are alone.

    Samples of parts may be sampled again: the result is that of the whole.

    Args:
        ids: any number of times each.
        most: int. Size of the sample, if there are so many.
    """
    hashed = {(zlib.crc32(name.encode()), name) for name in ids}
    return sorted(name for _, name in sorted(hashed)[:most])


def spans(counts: Sequence[int], start: int, stop: int) -> list[tuple[int, int, int]]:
    """Where the rows from `start` to `stop` of consecutive parts are.

    Args:
        counts: rows of each part.
        start: int. First row.
        stop: int. One after the last.

    Returns:
        Part, first row in it, one after the last.

    Example:
        >>> spans([3, 0, 4], 2, 5)
        [(0, 2, 3), (2, 0, 2)]
    """
    found, before = [], 0
    for part, count in enumerate(counts):
        first, last = max(start - before, 0), min(stop - before, count)
        if first < last:
            found.append((part, first, last))
        before += count
    return found
