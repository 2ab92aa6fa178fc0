"""A batch stage: units of work, split by key and combined key by key."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

#: From a unit of work to pairs of a key ≥ 0 and what belongs to it.
Split: TypeAlias = Callable[[Any], Iterable[tuple[int, Any]]]
#: From a key and all that belongs to it to a small result; files are its side effect.
Combine: TypeAlias = Callable[[int, Sequence[Any]], Any]


@dataclass(frozen=True)
class Stage:
    """Work that any runner can do in any order, on any number of machines.

    What a key is combined from comes in the order of the units, and within a unit as
    `split` gave it, whatever the runner. `combine` may run more than once for a key,
    when a worker dies: what it writes is to be written beside and renamed.

    Args:
        name: of the stage, for people.
        units: what there is to do, each small and picklable.
        split: see `Split`. By default each unit is a key of its own, its number.
        combine: see `Combine`. Both are picklable and depend on their arguments alone.

    Example:
        >>> def by_parity(number):
        ...     yield number % 2, number
        >>> stage = Stage("sums", [1, 2, 3], lambda key, found: sum(found), by_parity)
        >>> from keras_sllmr.pipeline.in_process import InProcess
        >>> InProcess().run(stage)
        {0: 2, 1: 4}
    """

    name: str
    units: Sequence[Any]
    combine: Combine
    split: Split | None = None

    def parts(self, number: int, unit: Any) -> Iterable[tuple[int, Any]]:
        """What a unit gives: pairs of a key and a value."""
        return [(number, unit)] if self.split is None else self.split(unit)


class Runner(Protocol):
    """Runs stages."""

    def run(self, stage: Stage) -> Mapping[int, Any]:
        """The results by key, in the keys' order.

        Raises:
            SllmrError: as raised by `split` or `combine`; of several the one of the
                first unit, or of the first key.
        """
        ...
