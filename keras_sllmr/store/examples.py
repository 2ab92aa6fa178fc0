"""A pool of labelled examples with a text each, and every training row's nearest."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sllmr.errors import DataError
from keras_sllmr.io.tfrecord import example
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.store_table import (
    finite_vectors,
    require_source,
    require_texts,
    texts_of,
    with_empty_row,
)
from keras_sllmr.store.training_rows import RowTable, TrainingRows


@dataclass(frozen=True)
class ExamplePool:
    """Labelled (user, position, item) triples; row 0 is "no example", all zeros.

    Args:
        users: int64 `[P + 1]`.
        positions: int64 `[P + 1]`. What came before it is the example's history.
        items: int64 `[P + 1]`.
        labels: int64 `[P + 1]`. 1 when the user's event there was the item, else 0.
    """

    users: np.ndarray
    positions: np.ndarray
    items: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """P, row 0 left out."""
        return len(self.users) - 1


class Examples(RowTable):
    """In-context examples, their chains of thought, and who is shown which.

    Args:
        path: folder of a table made by `Examples.create`.
        store: the feature store that it was made for.

    Raises:
        StoreError: when it is missing or damaged, or was made for another store.

    Reference:
        Sun et al., "Large language models enhanced collaborative filtering", CIKM
        2024.
    """

    kind = "examples"
    views = ("example", "row_neighbours")
    remedy = "Make it again with `sllmr examples`."

    def __init__(self, path: str | os.PathLike[str], store: FeatureStore) -> None:
        super().__init__(path, store)
        pool, rows = map(self._columns, self.views)
        #: int64 `[P + 1]`. Users of the examples; row 0 of all these is "no example".
        self.users = with_empty_row(self._indices(pool["user_id"], store.user_ids))
        #: int64 `[P + 1]`. Their positions.
        self.positions = with_empty_row(pool["position"])
        #: int64 `[P + 1]`. Their target items.
        self.items = with_empty_row(self._indices(pool["item_id"], store.item_ids))
        #: int64 `[P + 1]`. 1 or 0.
        self.labels = with_empty_row(pool["label"])
        #: `P + 1` chains of thought, or what stands for them; the first one "".
        self.chains = ["", *texts_of(pool["chain"])]
        #: float32 `[P + 1, d]`. The chains' vectors; a zero row is "no text".
        self.vectors = with_empty_row(self._matrix(pool["vector"]))
        flat = self._matrix(rows["neighbours"]).astype(np.int32)
        #: int32 `[N, 1 + sets, k]`. Examples of the training rows; 0 is none.
        self.neighbours = flat.reshape(len(flat), 1 + self.sets, -1)

    @property
    def pool(self) -> ExamplePool:
        """The examples without their texts."""
        return ExamplePool(self.users, self.positions, self.items, self.labels)

    @property
    def encoder(self) -> str:
        """Name of the chains' encoder."""
        return str(self.manifest["settings"]["encoder"])

    @property
    def source(self) -> str:
        """Who wrote the chains: `"llm"` or `"description"`."""
        return str(self.manifest["settings"]["source"])

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        rows: TrainingRows,
        *,
        pool: ExamplePool,
        chains: Iterable[str],
        vectors: np.ndarray,
        neighbours: np.ndarray,
        encoder: str,
        source: str,
        settings: dict[str, Any] | None = None,
        teacher: dict[str, Any] | None = None,
        cost: dict[str, Any] | None = None,
    ) -> "Examples":
        """Writes the table, whole or not at all.

        Args:
            path: the table's folder.
            rows: the training rows that the neighbours are of.
            pool: P examples.
            chains: str, P + 1 of them. The first one is no example's.
            vectors: float `[P + 1, d]`. Of the chains.
            neighbours: int `[N, 1 + sets, k]`. Rows of the pool, 0 for none.
            encoder: str. Name of the chains' encoder.
            source: str. Who wrote the chains, `"llm"` or `"description"`.
            settings: everything else that shaped the examples. Defaults to nothing.
            teacher: name, model and prompt hash. Defaults to none.
            cost: requests, tokens, price. Defaults to none.

        Raises:
            ConfigError: on an unknown source.
            DataError: on other numbers of rows, values that are not finite, or a
                neighbour that is not in the pool, or is the row's own user at its
                position or later.
            StoreError: when something other than examples is there, another job writes
                it, or the disk is full.
        """
        require_source(source)
        chains = require_texts(chains, len(pool) + 1, of="an example")
        vectors = finite_vectors(vectors, len(pool) + 1, of="an example")
        neighbours = np.asarray(neighbours)
        _require_neighbours(neighbours, rows, pool)
        store = rows.split.store
        columns = zip(
            store.user_ids[pool.users[1:]],
            store.item_ids[pool.items[1:]],
            pool.positions[1:].tolist(),
            pool.labels[1:].tolist(),
            chains[1:],
            vectors[1:],
            strict=True,
        )
        names = ("user_id", "item_id", "position", "label", "chain", "vector")
        flat = neighbours.reshape(len(rows), -1).tolist()
        cls._write(
            path,
            store,
            {
                "example": (
                    len(pool),
                    (example(**dict(zip(names, row, strict=True))) for row in columns),
                ),
                "row_neighbours": (len(rows), (example(neighbours=r) for r in flat)),
            },
            settings={
                **(settings or {}),
                "encoder": encoder,
                "source": source,
                "dimension": vectors.shape[1],
                "rows": rows.describe(),
            },
            parent={"rows": rows.fingerprint},
            teacher=teacher or {},
            cost=cost or {},
        )
        return cls(path, store)


def _require_neighbours(
    neighbours: np.ndarray, rows: TrainingRows, pool: ExamplePool
) -> None:
    wanted = rows.items.shape
    whole = neighbours.ndim == 3 and neighbours.shape[2] > 0
    if not whole or neighbours.shape[:2] != wanted or neighbours.dtype.kind not in "iu":
        raise DataError(
            "Neighbours must be whole numbers of shape "
            f"[{wanted[0]}, {wanted[1]}, k]. Received: {neighbours.dtype} of shape "
            f"{list(neighbours.shape)}."
        )
    outside = (neighbours < 0) | (neighbours > len(pool))
    if outside.any():
        raise DataError(
            f"Neighbours must be rows of the pool, 0 to {len(pool)}. Received: "
            f"{neighbours[outside][0]}."
        )
    own = pool.users[neighbours] == rows.users[:, None, None]
    later = pool.positions[neighbours] >= rows.positions[:, None, None]
    if (own & later).any():
        raise DataError(
            "No row may be shown an example of its own user at its own position or a "
            f"later one. Received: {(own & later).sum()} such neighbours."
        )
