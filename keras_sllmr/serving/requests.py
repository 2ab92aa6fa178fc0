"""Requests that an export answers, made from a store's rows: raw ids and cells."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from keras_sllmr.io.tfrecord import example
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.split import Targets

#: Signatures with one row a user, not a candidate.
RANKINGS = ("rank", "rank_dense")


@dataclass(frozen=True)
class Requests:
    """Makes the inputs of every signature from rows of a store.

    Strings are object arrays, numbers float32 or int32, as `tf.constant` takes them.

    Args:
        store: the feature store.
        names: the backbone's inputs.
        history: int. Events of a history at most, the last ones. Defaults to all: the
            export cuts and aligns them.

    Example:
        >>> Requests(store, ["item", "history"]).rows(targets)     # doctest: +SKIP
        {'item_id': array(['B02', …]), 'history': array([['B01', ''], …])}
    """

    store: FeatureStore
    names: Collection[str]
    history: int | None = None

    def rows(
        self, targets: Targets, signature: str = "serving_default"
    ) -> dict[str, np.ndarray]:
        """Of a signature that takes one row a candidate, as such or as tf.Example."""
        if signature == "serve_examples":
            return {"examples": _texts(self.examples(targets))}
        if signature in ("classify", "regress"):
            return {"inputs": _texts(self.examples(targets))}
        item_ids = _texts(self.store.item_ids[targets.items])
        return {"item_id": item_ids, **self._users(targets)}

    def ranking(
        self,
        targets: Targets,
        candidates: np.ndarray,
        k: np.ndarray,
        signature: str = "rank",
    ) -> dict[str, np.ndarray]:
        """Of one of `RANKINGS`: one row a user with its candidates.

        Args:
            targets: users and positions; the items are not read.
            candidates: int `[users, C]`. Indices of items to rank, 0 for padding.
            k: int `[users]`. How many are wanted.
            signature: str. Ids of `rank`, the default, or indices of `rank_dense`.
        """
        inputs = {**self._users(targets), "k": np.asarray(k, np.int32)}
        if signature == "rank_dense":
            inputs["candidates"] = np.asarray(candidates, np.int32)
            rows = [row.tolist() for row in self._histories(targets)]
            inputs["history"] = Ragged.from_rows(rows).padded(_width(rows))
        else:
            inputs["candidates"] = _texts(self.store.item_ids[candidates])
        return inputs

    def examples(self, targets: Targets) -> list[bytes]:
        """The rows as serialised tf.Example; what is unknown is left out."""
        lists = {"history", *self._columns("multi")}
        inputs = self.rows(targets)
        records = []
        for row in range(len(targets)):
            cells = {name: values[row] for name, values in inputs.items()}
            for name in lists & set(cells):
                cells[name] = [text for text in cells[name] if text != ""]
            records.append(
                example(**{n: c for n, c in cells.items() if not _unknown(c)})
            )
        return records

    def _users(self, targets: Targets) -> dict[str, np.ndarray]:
        """The inputs on users and context, the history among them."""
        store = self.store
        histories = [store.item_ids[row] for row in self._histories(targets)]
        inputs = {"history": _padded(histories)}
        if "user" in self.names:
            inputs["user_id"] = _texts(store.user_ids[targets.users])
        rows = {
            "user": targets.users,
            "context": store.events.offsets[targets.users] + targets.positions,
        }
        for name in self._columns():
            column = store.columns[name]
            cells = [column.cell(row) for row in rows[column.entity]]
            if column.kind == "multi":
                inputs[name] = _padded(cells)
            elif column.kind == "numeric":
                inputs[name] = np.array(cells, np.float32)
            else:
                inputs[name] = _texts(cells)
        return inputs

    def _histories(self, targets: Targets) -> list[np.ndarray]:
        whole = [
            self.store.events.row(user)[:position]
            for user, position in zip(targets.users, targets.positions, strict=True)
        ]
        return (
            whole if self.history is None else [row[-self.history :] for row in whole]
        )

    def _columns(self, kind: str | None = None) -> list[str]:
        """Columns that are inputs of the export, all or of a kind."""
        return [
            name
            for name, column in self.store.columns.items()
            if name in self.names
            and column.entity != "item"
            and kind in (None, column.kind)
        ]


def _unknown(cell: Any) -> bool:
    return not cell if isinstance(cell, (str, list)) else bool(np.isnan(cell))


def _width(rows: Sequence[Sequence[object]]) -> int:
    return max(map(len, rows), default=0)


def _padded(rows: Sequence[Sequence[object]]) -> np.ndarray:
    """Texts `[rows, longest]`, padded on the right with ""."""
    width = _width(rows)
    padded = [[*row, *[""] * (width - len(row))] for row in rows]
    return _texts(padded).reshape(len(rows), width)


def _texts(texts: object) -> np.ndarray:
    return np.array(texts, object)
