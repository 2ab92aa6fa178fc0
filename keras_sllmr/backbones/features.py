"""What a backbone reads: the features of a row and the sizes of their vocabularies."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.store.columns import (
    Column,
    ColumnSpec,
    Entity,
    Kind,
    check_unique,
)
from keras_sllmr.store.feature_store import FeatureStore

#: the features of an item that every store has; see `FeatureSpec.item_inputs`.
ITEM_INPUTS = ("item", "item_attributes")


@dataclass(frozen=True)
class ColumnFeature:
    """A further column of a store as a feature.

    Args:
        name: str. Of the column, and of the model's input.
        entity: "user", "item", or "context" for the interaction to be predicted.
        kind: "categorical", "multi" or "numeric".
        n_categories: int. Size of the vocabulary; `0`, the default, of numbers.
        width: int. Values kept of a multi-valued cell. Defaults to `1`.

    Raises:
        ConfigError: when name, entity or kind is none that a column can have.

    Example:
        >>> ColumnFeature("genres", "item", "multi", n_categories=9, width=3).shape
        (3,)
    """

    name: str
    entity: Entity
    kind: Kind
    n_categories: int = 0
    width: int = 1

    def __post_init__(self) -> None:
        ColumnSpec(self.name, self.entity, self.kind)  # raises

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row."""
        return (self.width,) if self.kind == "multi" else ()

    @property
    def dtype(self) -> str:
        """Indices are int32, standardised numbers float32."""
        return "float32" if self.kind == "numeric" else "int32"

    def column(self, store: FeatureStore) -> Column:
        """The column in a store.

        Raises:
            ConfigError: when the store has none like it.
        """
        column = store.columns.get(self.name)
        described = (self.entity, self.kind, self.n_categories)
        found = column and (column.entity, column.kind, column.n_categories)
        if column is None or found != described:
            raise ConfigError(
                f"The store must have the column {self.name!r} as it was trained on, "
                f"{described}. Received: {found}. Use the store it was trained on."
            )
        return column

    def table(self, store: FeatureStore) -> np.ndarray:
        """The column's cells as this feature's, row 0 for unknown.

        Of users and items `[n + 1, ...]` by index; of context event i is in row i + 1.
        """
        column = self.column(store)
        if self.kind == "numeric":
            cells = column.standardised()
        elif self.kind == "multi":
            cells = column.values.padded(self.width)
        else:
            cells = column.values
        if self.entity == "context":
            cells = np.pad(cells, [(1, 0), *[(0, 0)] * (cells.ndim - 1)])
        return np.asarray(cells, self.dtype)


@dataclass(frozen=True)
class FeatureSpec:
    """Sizes of a row's features; index 0 of every vocabulary is padding.

    Args:
        n_users: int.
        n_items: int.
        n_attributes: int. 0 leaves the attribute fields out.
        history_length: int. Events in the history window. Defaults to `20`.
        attribute_width: int. Attributes kept of an item. Defaults to `8`.
        user_id: bool. Is the user's id a field? Defaults to `False`: with
            leave-one-out data an id field overfits within two epochs.
        columns: further columns, as `ColumnFeature` or its arguments by name. Defaults
            to none.
        user_index: bool. Is the user's index an input without being a field, to look
            up knowledge of the user? Defaults to `False`.
        examples: int. Retrieved examples of a row, an input without being a field.
            Defaults to `0`.

    Raises:
        ConfigError: when two columns have one name.
    """

    n_users: int
    n_items: int
    n_attributes: int
    history_length: int = 20
    attribute_width: int = 8
    user_id: bool = False
    columns: tuple[ColumnFeature, ...] = ()
    user_index: bool = False
    examples: int = 0

    def __post_init__(self) -> None:
        columns = tuple(
            column if isinstance(column, ColumnFeature) else ColumnFeature(**column)
            for column in self.columns
        )
        check_unique(ColumnSpec(c.name, c.entity, c.kind) for c in columns)
        object.__setattr__(self, "columns", columns)

    @classmethod
    def of(
        cls,
        store: FeatureStore,
        *,
        history_length: int = 20,
        max_attributes: int = 8,
        user_id: bool = False,
        columns: Iterable[str] | None = None,
    ) -> "FeatureSpec":
        """The sizes found in a store.

        Args:
            store: the feature store.
            history_length: int. Events in the history window. Defaults to `20`.
            max_attributes: int. Attributes, or values of a multi-valued column, to
                keep at most. Defaults to `8`.
            user_id: bool. Is the user's id a field? Defaults to `False`.
            columns: names of the further columns to read. Defaults to all.

        Raises:
            ConfigError: when the store has no column of some name.
        """
        chosen = set(store.columns if columns is None else columns)
        unknown = sorted(chosen - set(store.columns))
        if unknown:
            raise ConfigError(
                "`columns` must name columns of the store, "
                f"{', '.join(store.columns) or 'but it has none'}. Received: "
                f"{', '.join(unknown)}"
            )

        def width(lengths: np.ndarray) -> int:
            return max(1, min(int(lengths.max(initial=0)), max_attributes))

        return cls(
            n_users=store.n_users,
            n_items=store.n_items,
            n_attributes=store.n_attributes,
            history_length=history_length,
            attribute_width=width(store.attributes.lengths),
            user_id=user_id,
            columns=tuple(
                ColumnFeature(
                    column.name,
                    column.entity,
                    column.kind,
                    column.n_categories,
                    width(column.values.lengths) if column.kind == "multi" else 1,
                )
                for column in store.columns.values()
                if column.name in chosen
            ),
        )

    @property
    def item_inputs(self) -> tuple[str, ...]:
        """Names of the inputs of an item; the others are of a user and the context."""
        built_in = ITEM_INPUTS if self.n_attributes else ITEM_INPUTS[:1]
        return (*built_in, *(c.name for c in self.columns if c.entity == "item"))

    @property
    def pair_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that depend on the user and the item together."""
        return ("examples",) if self.examples else ()

    @property
    def knowledge_inputs(self) -> tuple[str, ...]:
        """Names of the inputs that are no fields; see `backbones.knowledge`."""
        of_user = ("user",) if self.user_index and not self.user_id else ()
        return of_user + self.pair_inputs

    def inputs(self) -> dict[str, Any]:
        """Keras inputs by name.

        Indices are int32, numbers of columns float32; scalars are `[batch]`, the
        others padded, `[batch, width]`.
        """
        length, width = self.history_length, self.attribute_width
        shapes: dict[str, tuple[int, ...]] = {"item": (), "history": (length,)}
        if self.n_attributes:
            shapes["item_attributes"] = (width,)
            shapes["history_attributes"] = (length * width,)
        if self.user_id or self.user_index:
            shapes["user"] = ()
        if self.examples:
            shapes["examples"] = (self.examples,)
        inputs = {
            name: keras.Input(shape, name=name, dtype="int32")
            for name, shape in shapes.items()
        }
        for column in self.columns:
            # Fed by the column's name, but named so that no layer has the same name.
            name = f"{column.name}_input"
            inputs[column.name] = keras.Input(
                column.shape, name=name, dtype=column.dtype
            )
        return inputs

    def to_dict(self) -> dict[str, Any]:
        """The sizes as plain values; the last three only where they are not empty."""
        values = asdict(self)
        values["columns"] = list(values["columns"])
        optional = ("columns", "user_index", "examples")
        return {n: value for n, value in values.items() if value or n not in optional}
