"""Which labelled examples are most like a row: in bulk, and inside a served graph."""

import os
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.io.atomic import replace_file
from keras_sllmr.store.draws import permutation
from keras_sllmr.store.examples import ExamplePool

_RANK = 305
# What `np.load` raises of a damaged file.
_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
)


class ExampleRetrieval(tf.Module):
    r"""The nearest positive and the nearest negative examples of rows.

    A row is looked for by \(q = ½ \bar v_h + ½ v_i\), scaled to unit length, with the
    mean of its history items' text vectors and its target item's; likewise the
    examples, and the nearest are those of the largest dot product, half of them with
    label 1 and half with label 0. Their order is a fixed random one of all examples, which
    says nothing of the labels. Where the row's user and position are known,
    examples of the same user at that position or later are left out: the row itself,
    its negatives and its future. A row or an example without a vector is like nothing.

    Args:
        pool: the examples.
        histories: int `[P + 1, H]`. Each example's history items; 0 is padding.
        text_vectors: float `[n_items + 1, t]`. Unit vectors of the items; a zero row
            is unknown.
        k: int. Examples a row, half of each label; even. Defaults to `4`.
        dimensions: int. Vectors are reduced to this many of their principal axes, for
            speed; none keeps all. Defaults to `192`.

    Raises:
        ConfigError: when `k` is not positive and even, or `dimensions` not positive.
        DataError: when the histories are not the pool's.

    Example:
        >>> one = np.array([0, 1, 1])
        >>> pool = ExamplePool(one, one, np.array([0, 1, 2]), np.array([0, 1, 0]))
        >>> retrieval = ExampleRetrieval(pool, np.zeros((3, 1), int), np.eye(3), k=2)
        >>> retrieval(tf.constant([[2]]), tf.constant([1])).numpy().tolist()
        [[1, 2]]
        >>> retrieval(tf.constant([[2]]), tf.constant([1]), [1], [0]).numpy().tolist()
        [[0, 0]]

    Reference:
        Sun et al., "Large language models enhanced collaborative filtering", CIKM
        2024.
    """

    def __init__(
        self,
        pool: ExamplePool,
        histories: np.ndarray,
        text_vectors: np.ndarray,
        *,
        k: int = 4,
        dimensions: int | None = 192,
    ) -> None:
        super().__init__(name="example_retrieval")
        if k < 2 or k % 2:
            raise ConfigError(
                "`k` must be positive and even, for as many positives as negatives. "
                f"Received: k={k}"
            )
        histories = np.asarray(histories)
        if histories.ndim != 2 or len(histories) != len(pool) + 1:
            raise DataError(
                "There must be a history an example and one for row 0: shape "
                f"[{len(pool) + 1}, H]. Received: shape {list(histories.shape)}."
            )
        vectors = np.asarray(text_vectors, np.float32)
        # Any order that knows nothing of the labels; no example comes last.
        rank = np.argsort(permutation(len(pool), _RANK))
        self._set_up(
            {
                "k": np.array(k),
                "vectors": vectors @ principal_axes(vectors, dimensions),
                "known": np.abs(vectors).sum(axis=1) > 0,
                "rank": np.concatenate([[len(pool)], rank]),
                "histories": histories,
                "items": pool.items,
                "labels": pool.labels,
                "users": pool.users,
                "positions": pool.positions,
            }
        )

    def _set_up(self, saved: dict[str, Any]) -> None:
        # Not as arrays of its own: those would be tracked and saved with an export.
        self._saved = lambda: saved
        self.k, self.size = int(saved["k"]), len(saved["items"]) - 1
        self._vectors = _constant(saved["vectors"], tf.float32)
        self._known = _constant(saved["known"], tf.float32)
        self._rank = _constant(saved["rank"], tf.int32)
        queries = self._queries(saved["histories"], saved["items"]).numpy()
        found = np.abs(queries).sum(axis=1) > 0
        found[0] = False
        self._sides = [
            _Side(saved, queries, np.flatnonzero(found & (saved["labels"] == label)))
            for label in (1, 0)
        ]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes all it needs to one `.npz` file, whole or not at all."""
        with replace_file(path) as beside, open(beside, "wb") as file:
            np.savez(file, **self._saved())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ExampleRetrieval":
        """What `save` wrote.

        Raises:
            StoreError: when the file is missing or damaged.
        """
        retrieval = cls.__new__(cls)
        tf.Module.__init__(retrieval, name="example_retrieval")
        try:
            with np.load(path) as file:
                retrieval._set_up({name: file[name] for name in file.files})
        except _UNREADABLE as error:
            raise StoreError(
                f"{path} does not hold examples to retrieve: {error}. Make it again."
            ) from error
        return retrieval

    def __call__(
        self, history: Any, items: Any, users: Any = None, positions: Any = None
    ) -> Any:
        """The examples of rows; leading axes broadcast.

        Args:
            history: int `[..., H]`. Item indices, 0 is padding.
            items: int `[...]`. The target items.
            users: int `[...]`. Users of the rows, where known. Defaults to unknown.
            positions: int `[...]`. The targets' places in the users' events, needed
                with `users`.

        Returns:
            int32 `[..., k]`. Rows of the pool, 0 where there are not enough.

        Raises:
            ConfigError: when only one of `users` and `positions` is given.
        """
        if (users is None) != (positions is None):
            raise ConfigError(
                "`users` and `positions` must be given together. Received: "
                f"{'positions' if users is None else 'users'} alone."
            )
        queries = self._queries(history, items)
        rows = tf.shape(queries)[:-1]
        known = None
        if users is not None:
            known = [
                tf.reshape(tf.broadcast_to(tf.cast(part, tf.int32), rows), [-1])
                for part in (users, positions)
            ]
        flat = tf.reshape(queries, [-1, queries.shape[-1]])
        half = self.k // 2
        found = tf.concat([s.nearest(flat, known, half) for s in self._sides], axis=1)
        order = tf.argsort(tf.gather(self._rank, found), axis=1)
        found = tf.gather(found, order, batch_dims=1)
        return tf.reshape(found, tf.concat([rows, [self.k]], axis=0))

    def _queries(self, history: Any, items: Any) -> Any:
        known = tf.gather(self._known, history)
        total = tf.reduce_sum(tf.gather(self._vectors, history), axis=-2)
        count = tf.maximum(tf.reduce_sum(known, axis=-1, keepdims=True), 1.0)
        query = 0.5 * total / count + 0.5 * tf.gather(self._vectors, items)
        return tf.math.l2_normalize(query, axis=-1)


def require_retrieval(inputs: Mapping[str, Any], retrieval: Any) -> None:
    """Raises `ConfigError` when a model reads examples that nothing finds.

    Args:
        inputs: the model's, by name; that of examples is `[batch, K]`.
        retrieval: `ExampleRetrieval` or none.
    """
    if "examples" not in inputs:
        return
    wanted, found = inputs["examples"].shape[-1], getattr(retrieval, "k", None)
    if retrieval is None or found not in (None, wanted):
        raise ConfigError(
            f"The backbone reads {wanted} examples a row, so `retrieval` must find as "
            f"many. Received: {'none' if retrieval is None else f'one of {found}'}. "
            "Pass the trained model's `retrieval`."
        )


class _Side(tf.Module):
    """The examples of one label."""

    def __init__(
        self, pool: dict[str, np.ndarray], queries: np.ndarray, index: np.ndarray
    ) -> None:
        super().__init__()
        self.size = len(index)
        self.queries = _constant(queries[index].T, tf.float32)
        self.index = _constant(index, tf.int32)
        self.users = _constant(pool["users"][index], tf.int32)
        self.positions = _constant(pool["positions"][index], tf.int32)

    def nearest(self, queries: Any, known: Any, wanted: int) -> Any:
        """int32 `[rows, wanted]`: the nearest first."""
        similar = tf.matmul(queries, self.queries)
        if known is not None:
            users, positions = (part[:, tf.newaxis] for part in known)
            hidden = (users == self.users) & (positions <= self.positions)
            similar = tf.where(hidden, -np.inf, similar)
        best, place = tf.math.top_k(similar, k=min(wanted, self.size))
        # All are as far from a row without a vector.
        right = (best > -np.inf) & tf.reduce_any(queries != 0, axis=1, keepdims=True)
        found = tf.where(right, tf.gather(self.index, place), 0)
        return tf.pad(found, [[0, 0], [0, wanted - min(wanted, self.size)]])


def principal_axes(vectors: np.ndarray, dimensions: int | None) -> np.ndarray:
    r"""The directions that keep most of the vectors' dot products.

    The first eigenvectors of \(V^\top V\). The mean stays in, so that dot products are
    kept and zero rows stay zero. Signs are such that each direction's largest entry is
    positive.

    Args:
        vectors: float `[n, t]`.
        dimensions: int. How many; none, or as many as there are, keeps the vectors as
            they are.

    Returns:
        float32 `[t, min(dimensions, t)]`, orthonormal columns.

    Raises:
        ConfigError: when `dimensions` is not positive.

    Example:
        >>> principal_axes(np.array([[3.0, 0.0], [0.0, -4.0]]), 1).tolist()
        [[0.0], [1.0]]
    """
    width = vectors.shape[1]
    if dimensions is None or dimensions >= width:
        return np.eye(width, dtype=np.float32)
    if dimensions < 1:
        raise ConfigError(
            f"`dimensions` must be positive. Received: dimensions={dimensions}"
        )
    wide = np.asarray(vectors, np.float64)
    _, axes = np.linalg.eigh(wide.T @ wide)
    axes = axes[:, ::-1][:, :dimensions]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=0)[np.newaxis], axis=0)
    return (axes * np.sign(largest)).astype(np.float32)


def _constant(values: np.ndarray, dtype: Any) -> Any:
    # A variable is saved once with an export, not in each of its functions.
    return tf.Variable(values, trainable=False, dtype=dtype)
