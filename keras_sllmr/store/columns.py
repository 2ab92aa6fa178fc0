"""Columns beyond ids, texts and attributes: of a user, an item or an interaction."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from keyword import iskeyword
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from keras_sllmr.errors import ConfigError

Entity: TypeAlias = Literal["user", "item", "context"]
Kind: TypeAlias = Literal["categorical", "multi", "numeric"]

ENTITIES: tuple[Entity, ...] = get_args(Entity)
KINDS: tuple[Kind, ...] = get_args(Kind)

#: A standardised number is at most so far from 0: a column that all but never varies
#: must not bring infinity into a model.
OUTERMOST = 1e6

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# The store's own features, and the inputs and outputs of models over it.
RESERVED = frozenset(
    (
        *("user", "user_id", "item", "item_id", "order", "position", "text", "vector"),
        *("attribute", "attributes", "item_attributes", "history_attributes"),
        *("history", "category", "label", "logit", "origin", "score", "self"),
        *("spread", "answers"),
    )
)
_MISSING: dict[Kind, Any] = {"categorical": "", "multi": (), "numeric": float("nan")}


@dataclass(frozen=True)
class ColumnSpec:
    """What a column describes, and what its cells hold.

    Args:
        name: letters, digits and `_`, no keyword of Python; also the name of a
            model's input.
        entity: "user", "item", or "context" for the interaction itself.
        kind: "categorical" (one value), "multi" (any number of them) or "numeric".
        min_count: int. A value that fewer rows have is "unknown". Context counts
            training events alone. Defaults to `1`.

    Raises:
        ConfigError: when an argument breaks its rule.

    Example:
        >>> ColumnSpec("age", "user", "numeric").missing
        nan
    """

    name: str
    entity: Entity
    kind: Kind
    min_count: int = 1

    def __post_init__(self) -> None:
        # Signatures take their inputs as keyword arguments.
        plain = _NAME.fullmatch(str(self.name)) and not iskeyword(self.name)
        if not plain or self.name in RESERVED:
            raise ConfigError(
                "A column's name must be a letter, then letters, digits or _, no "
                "keyword of Python such as class or from, and none of the store's own "
                f"({', '.join(sorted(RESERVED))}). Received: "
                f"{self.name!r}. Rename the column in its source."
            )
        choices = (("entity", self.entity, ENTITIES), ("kind", self.kind, KINDS))
        for rule, value, known in choices:
            if value not in known:
                raise ConfigError(
                    f"The {rule} of the column {self.name!r} must be one of "
                    f"{', '.join(known)}. Received: {value!r}"
                )
        if self.min_count < 1:
            raise ConfigError(
                f"`min_count` must be at least 1. Received: min_count={self.min_count}"
            )

    @property
    def missing(self) -> Any:
        """The cell of a row that has no value: "", () or NaN."""
        return _MISSING[self.kind]


def column_specs(
    user: Mapping[str, Kind] | None = None,
    item: Mapping[str, Kind] | None = None,
    context: Mapping[str, Kind] | None = None,
    *,
    min_count: int = 1,
) -> tuple[ColumnSpec, ...]:
    """The specs of columns given as name to kind, each name once.

    Raises:
        ConfigError: when a name comes twice, or breaks a rule of `ColumnSpec`.

    Example:
        >>> [spec.entity for spec in column_specs({"age": "numeric"})]
        ['user']
    """
    specs = []
    for entity, kinds in zip(ENTITIES, (user, item, context), strict=True):
        if not isinstance(kinds or {}, Mapping):
            raise ConfigError(
                f"The {entity} columns must map each name to its kind, as in "
                f"{{age: numeric}}. Received: {kinds!r}"
            )
        for name, kind in (kinds or {}).items():
            specs.append(ColumnSpec(name, entity, kind, min_count))
    check_unique(specs)
    return tuple(specs)


def check_unique(specs: Iterable[ColumnSpec]) -> None:
    """Raises `ConfigError` when a name comes twice, if only of different entities."""
    counts = Counter(spec.name for spec in specs)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise ConfigError(
            "A column's name must be unique among the columns of users, items and "
            f"context. Received: {', '.join(twice)} more than once. Rename one of them "
            "in its source."
        )


def kinds_by_entity(specs: Iterable[ColumnSpec]) -> dict[str, dict[str, str]]:
    """Entity to name to kind, as the manifest repeats the schema.

    Example:
        >>> kinds_by_entity([ColumnSpec("age", "user", "numeric")])
        {'user': {'age': 'numeric'}}
    """
    kinds: dict[str, dict[str, str]] = {}
    for spec in specs:
        kinds.setdefault(spec.entity, {})[spec.name] = spec.kind
    return kinds


@dataclass(frozen=True, eq=False)
class Column:
    r"""One column of a store, read into memory.

    Rows are users or items with the empty row 0 first, or, of a context column, the
    store's events: row i belongs to `store.events.values[i]`.

    Args:
        name: its name.
        entity: "user", "item" or "context".
        kind: "categorical", "multi" or "numeric".
        values: indices as int32 `[rows]`, 0 for missing or unknown; of "multi"
            `Ragged` rows of indices, without those; of "numeric" float32 `[rows]` as
            they came, NaN for missing.
        vocabulary: str `[n + 1]`. What the indices stand for; entry 0 is "". None of
            a numeric column.
        mean: float. \(\mu\) of a numeric column: over its entity's known values, of a
            context column those of training events alone. `0` if there are none.
        std: float. \(\sigma\) over the same values; `1` when they do not differ.
    """

    name: str
    entity: Entity
    kind: Kind
    values: Any
    vocabulary: np.ndarray | None = None
    mean: float = 0.0
    std: float = 1.0

    @property
    def n_categories(self) -> int:
        """Size of the vocabulary without its entry 0; 0 of a numeric column."""
        return 0 if self.vocabulary is None else len(self.vocabulary) - 1

    @property
    def unknown(self) -> np.ndarray:
        """Which rows have no known value, bool `[rows]`."""
        if self.kind == "numeric":
            return np.isnan(self.values)
        if self.kind == "multi":
            return np.asarray(self.values.lengths == 0)
        return np.asarray(self.values == 0)

    def cell(self, row: int) -> Any:
        """A row's str, list of str or float; "", [] or NaN when it is not known."""
        if self.vocabulary is None:
            return float(self.values[row])
        if self.kind == "multi":
            return self.vocabulary[self.values.row(row)].tolist()
        return str(self.vocabulary[self.values[row]])

    def standardised(self) -> np.ndarray:
        r"""\((x - \mu) / \sigma\) of a numeric column, float32 `[rows]`.

        A missing value becomes 0, the mean; one beyond `OUTERMOST` becomes that.
        """
        scaled = (self.values.astype(np.float64) - self.mean) / self.std
        scaled = np.clip(scaled, -OUTERMOST, OUTERMOST)
        return np.where(self.unknown, 0.0, scaled).astype(np.float32)


def category_counts(
    spec: ColumnSpec, cells: Sequence[Any], counted: np.ndarray | None = None
) -> Counter[str]:
    """How many of the counted rows have each value; counts of parts may be added.

    Args:
        spec: of a categorical or multi-valued column.
        cells: one a row, as `RawData` holds them.
        counted: bool `[rows]`. Defaults to all rows.
    """
    rows = cells if counted is None else compress(cells, counted)
    return Counter(value for cell in rows for value in _values(spec, cell))


def vocabulary_of(spec: ColumnSpec, counts: Mapping[str, int]) -> list[str]:
    """The sorted values that at least `min_count` rows have."""
    return sorted(value for value, count in counts.items() if count >= spec.min_count)


def encoded(
    spec: ColumnSpec, cells: Sequence[Any], vocabulary: Sequence[str]
) -> list[Any]:
    """Cells as 1-based indices into the vocabulary, or as the numbers they are."""
    if spec.kind == "numeric":
        return [float(cell) for cell in cells]
    index = {value: place for place, value in enumerate(vocabulary, start=1)}
    if spec.kind == "categorical":
        return [index.get(cell, 0) for cell in cells]
    return [[index[value] for value in cell if value in index] for cell in cells]


def _values(spec: ColumnSpec, cell: Any) -> Sequence[str]:
    return cell if spec.kind == "multi" else [cell] if cell else []


def moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the values that are not NaN."""
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return 0.0, 1.0
    return float(known.mean()), float(known.std()) or 1.0
