"""Item text vectors: a feature view made by a frozen sentence encoder."""

import os

import numpy as np

from keras_sllmr.io.tfrecord import example
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.schema import VIEWS
from keras_sllmr.store.store_table import StoreTable, finite_vectors, with_empty_row


class TextVectors(StoreTable):
    """A vector an item, for encoder teachers and as a field of the backbones.

    Args:
        path: folder of a table made by `TextVectors.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing or damaged, or was made for another store.
    """

    kind = "item_text"
    views = tuple(VIEWS)
    remedy = "Encode it again with `sllmr encode`."

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        super().__init__(path, store)
        #: float32 `[n_items + 1, t]`, unit length; a zero row is "no text".
        self.vectors = with_empty_row(
            self._matrix(self._columns("item_text")["vector"])
        )

    @property
    def encoder(self) -> str:
        """The encoder's name."""
        return str(self.manifest["settings"]["encoder"])

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        store: FeatureStore,
        vectors: np.ndarray,
        *,
        encoder: str,
    ) -> "TextVectors":
        """Writes the table, whole or not at all.

        Args:
            path: the table's folder.
            store: the feature store.
            vectors: float `[n_items + 1, t]`. Row 0 is padding.
            encoder: str. The encoder's name.

        Raises:
            DataError: on another number of rows, or values that are not finite.
            StoreError: when something other than text vectors is there, another job
                writes it, or the disk is full.
        """
        vectors = finite_vectors(vectors, store.n_items + 1, of="an item")
        records = (
            example(item_id=item, vector=vector)
            for item, vector in zip(store.item_ids[1:], vectors[1:], strict=True)
        )
        cls._write(
            path,
            store,
            {"item_text": (store.n_items, records)},
            settings={"encoder": encoder, "dimension": vectors.shape[1]},
        )
        return cls(path, store)
