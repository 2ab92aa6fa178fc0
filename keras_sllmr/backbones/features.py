"""What a backbone reads: the features of a row and the sizes of their vocabularies."""

from dataclasses import asdict, dataclass
from typing import Any

from keras_sllmr.compat import keras
from keras_sllmr.store.feature_store import FeatureStore

ITEM_INPUTS = ("item", "item_attributes")
USER_INPUTS = ("user", "history", "history_attributes")


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
    """

    n_users: int
    n_items: int
    n_attributes: int
    history_length: int = 20
    attribute_width: int = 8
    user_id: bool = False

    @classmethod
    def of(
        cls,
        store: FeatureStore,
        *,
        history_length: int = 20,
        max_attributes: int = 8,
        user_id: bool = False,
    ) -> "FeatureSpec":
        """The sizes found in a store."""
        widest = int(store.attributes.lengths.max())
        return cls(
            n_users=store.n_users,
            n_items=store.n_items,
            n_attributes=store.n_attributes,
            history_length=history_length,
            attribute_width=max(1, min(widest, max_attributes)),
            user_id=user_id,
        )

    def inputs(self) -> dict[str, Any]:
        """Keras inputs by name, int32: the scalars `[batch]`, the others padded."""
        length, width = self.history_length, self.attribute_width
        shapes: dict[str, tuple[int, ...]] = {"item": (), "history": (length,)}
        if self.n_attributes:
            shapes["item_attributes"] = (width,)
            shapes["history_attributes"] = (length * width,)
        if self.user_id:
            shapes["user"] = ()
        return {
            name: keras.Input(shape, name=name, dtype="int32")
            for name, shape in shapes.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """The sizes as plain values."""
        return asdict(self)
