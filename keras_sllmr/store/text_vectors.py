"""Item text vectors: a feature view made by a frozen sentence encoder."""

import os
from pathlib import Path

import numpy as np

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import example, read_shards, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import (
    read_manifest,
    require_replaceable,
    write_manifest,
)
from keras_sllmr.store.schema import SCHEMA_VERSION, parsing_spec, write_schema


class TextVectors:
    """A vector an item, for encoder teachers and as a field of the backbones.

    Args:
        path: folder of a table made by `TextVectors.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing or damaged, or was made for another store.
    """

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        self.path = Path(path)
        self.manifest = read_manifest(
            self.path, kind="item_text", schema_version=SCHEMA_VERSION
        )
        if self.manifest["parent"].get("store") != store.fingerprint:
            raise StoreError(
                f"{self.path} was encoded for another store than {store.path}. "
                "Encode it again with `sllmr encode`."
            )
        columns = read_shards(
            self.path / "views" / "item_text",
            parsing_spec(self.path / "schema.pbtxt", "item_text"),
            count=store.n_items,
        )
        flat, _ = columns["vector"]
        flat = flat.reshape(store.n_items, -1)
        #: float32 `[n_items + 1, t]`, unit length; a zero row is "no text".
        self.vectors = np.concatenate([np.zeros_like(flat[:1]), flat])

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
        with np.errstate(over="ignore"):
            vectors = np.asarray(vectors, np.float32)
        rows, bad = store.n_items + 1, int((~np.isfinite(vectors)).sum())
        if vectors.ndim != 2 or len(vectors) != rows or not vectors.shape[1] or bad:
            raise DataError(
                "Text vectors must be finite and have a row an item and one for "
                f"padding: shape [{rows}, t]. Received: shape {list(vectors.shape)}, "
                f"{bad} values that are not finite."
            )
        require_replaceable(path, kind="item_text")
        with exclusive(path), replace_folder(path) as folder:
            write_schema(folder / "schema.pbtxt")
            write_shards(
                folder / "views" / "item_text",
                (
                    example(item_id=item, vector=vector)
                    for item, vector in zip(
                        store.item_ids[1:], vectors[1:], strict=True
                    )
                ),
                count=store.n_items,
            )
            write_manifest(
                folder,
                kind="item_text",
                schema_version=SCHEMA_VERSION,
                parent={"store": store.fingerprint},
                settings={"encoder": encoder, "dimension": vectors.shape[1]},
                counts={"item_text": store.n_items},
            )
        return cls(path, store)
