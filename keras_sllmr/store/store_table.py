"""What all tables made of a store share: views in a folder that names the store."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.io.atomic import replace_folder
from keras_sllmr.io.lock import exclusive
from keras_sllmr.io.tfrecord import read_shards, write_shards
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.manifest import (
    read_manifest,
    require_replaceable,
    write_manifest,
)
from keras_sllmr.store.schema import SCHEMA_VERSION, parsing_spec, write_schema

#: Who wrote a text: a language model, or code that describes the data in words.
SOURCES = ("llm", "description")


class StoreTable:
    """A folder with views, their schema and a manifest that names the store.

    Args:
        path: the table's folder.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing, or was made for another store.
    """

    kind: ClassVar[str]
    #: views that its schema describes.
    views: ClassVar[tuple[str, ...]]
    #: what to do when it does not fit.
    remedy: ClassVar[str] = "Make it again."
    version: ClassVar[int] = SCHEMA_VERSION

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        self.path, self.store = Path(path), store
        self.manifest = read_manifest(
            self.path, kind=self.kind, schema_version=self.version
        )
        made_for = str(self.manifest["parent"].get("store"))
        if made_for != store.fingerprint:
            raise StoreError(
                f"{self.path} was made for the store {made_for[:12]}. Received: the "
                f"store {store.fingerprint[:12]} at {store.path}. {self.remedy}"
            )

    def _columns(self, view: str) -> dict[str, Any]:
        """The columns of a view, as `read_shards` gives them."""
        return read_shards(
            self.path / "views" / view,
            parsing_spec(self.path / "schema.pbtxt", view),
            count=self.manifest["counts"].get(view),
        )

    def _matrix(self, column: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """A column of lists that are all of one length, `[rows, length]`."""
        values, offsets = column
        rows = len(offsets) - 1
        lengths = np.unique(np.diff(offsets))
        if len(lengths) > 1:
            raise StoreError(
                f"The lists of {self.path} must all be of one length. Received: "
                f"lengths from {lengths[0]} to {lengths[-1]}. {self.remedy}"
            )
        return values.reshape(rows, int(lengths[0]) if rows else 0)

    def _indices(self, ids: np.ndarray, vocabulary: np.ndarray) -> np.ndarray:
        """Stored ids as indices of the store, int64."""
        text = texts_of(ids)
        found = pd.Index(vocabulary).get_indexer(pd.Index(text, dtype=object))
        if (found <= 0).any():
            unknown = text[int(np.argmax(found <= 0))]
            raise StoreError(
                f"{self.path} names {unknown!r}, which the store does not have. "
                f"{self.remedy}"
            )
        return found.astype(np.int64)

    @classmethod
    def _write(
        cls,
        path: str | os.PathLike[str],
        store: FeatureStore,
        records: Mapping[str, tuple[int, Iterable[bytes]]],
        *,
        settings: dict[str, Any],
        parent: Mapping[str, Any] | None = None,
        **extra: Any,
    ) -> None:
        """Writes the table, whole or not at all.

        Args:
            path: the table's folder; an older table of the kind is replaced.
            store: the feature store.
            records: how many records each view has, and those.
            settings: all that shaped the content.
            parent: what it was made from beside the store. Defaults to nothing.
            **extra: further entries of the manifest.

        Raises:
            StoreError: when something else is there, another job writes it, or the
                disk is full.
        """
        require_replaceable(path, kind=cls.kind)
        with exclusive(path), replace_folder(path) as folder:
            write_schema(folder / "schema.pbtxt", views=cls.views)
            for view, (count, content) in records.items():
                write_shards(folder / "views" / view, content, count=count)
            write_manifest(
                folder,
                kind=cls.kind,
                schema_version=cls.version,
                parent={"store": store.fingerprint, **(parent or {})},
                settings=settings,
                counts={view: count for view, (count, _) in records.items()},
                **extra,
            )


def texts_of(values: np.ndarray) -> list[str]:
    """Stored bytes as texts."""
    return [value.decode("utf-8") for value in values]


def with_empty_row(rows: np.ndarray) -> np.ndarray:
    """The rows after a row 0 of zeros.

    Example:
        >>> with_empty_row(np.array([[1, 2]])).tolist()
        [[0, 0], [1, 2]]
    """
    return np.concatenate([np.zeros((1, *rows.shape[1:]), rows.dtype), rows])


def finite_vectors(vectors: np.ndarray, rows: int, *, of: str) -> np.ndarray:
    """Vectors as float32 `[rows, t]`, checked.

    Args:
        vectors: float `[rows, t]`.
        rows: int. How many there must be, row 0 for padding included.
        of: str. What a row is of, with its article.

    Raises:
        DataError: on another number of rows, or values that are not finite.
    """
    with np.errstate(over="ignore"):
        vectors = np.asarray(vectors, np.float32)
    bad = int((~np.isfinite(vectors)).sum())
    if vectors.ndim != 2 or len(vectors) != rows or not vectors.shape[1] or bad:
        raise DataError(
            f"Text vectors must be finite and have a row {of} and one for padding: "
            f"shape [{rows}, t]. Received: shape {list(vectors.shape)}, {bad} values "
            "that are not finite."
        )
    return vectors


def require_texts(texts: Iterable[str], rows: int, *, of: str) -> list[str]:
    """Texts as a list whose row 0 is empty, checked.

    Raises:
        DataError: on another number of them.
    """
    texts = list(map(str, texts))
    if len(texts) != rows:
        raise DataError(
            f"There must be a text {of} and an empty one first, {rows} in all. "
            f"Received: {len(texts)} texts."
        )
    return ["", *texts[1:]]


def require_source(source: str) -> None:
    """Refuses what is not one of `SOURCES`."""
    if source not in SOURCES:
        raise ConfigError(
            f"`source` must be one of {', '.join(SOURCES)}. Received: source={source!r}"
        )
