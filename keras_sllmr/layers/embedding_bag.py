"""Embeddings of bags of ids: one table for several vocabularies, one look-up a call."""

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from keras_sllmr.compat import in_xla, keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.tables import rows_of


@keras.utils.register_keras_serializable("keras_sllmr")
class EmbeddingBag(keras.layers.Layer):
    r"""Mean embedding of each bag of ids, where id 0 is padding.

    \(\bar e = \frac{\sum_k 1[x_k \ne 0]\, e_{x_k}}{\max(1, \sum_k 1[x_k \ne 0])}\), so
    an empty bag gives zeros. The tables of all vocabularies lie below one another in
    one variable. A call reads each row of the batch once and its gradient has one row a
    distinct id: cost grows with the filled places, not with the padding or the tables.

    Args:
        sizes: dict. Ids of each vocabulary by its name, padding included.
        vocabularies: dict. The vocabulary of each feature by the feature's name.
        dim: int. d.
        stddev: float ≥ 0. Standard deviation of the initial embeddings. Defaults to
            `0.01`.
        first_order: bool. Hold a weight beside each embedding? They start at zero.
            Defaults to `False`.

    Call arguments:
        inputs: a dict of some features to ints `[batch]` or `[batch, N]`: bags of one
            id or of N, taken in the order of their names.
        pool: bool. `False` gives the embeddings of the places, zeros for padding.

    Returns:
        Embeddings `[batch, bags, d]`, or `[batch, places, d]` without pooling. With
        `first_order` a pair: these and the sum of the bags' weights, `[batch, 1]`.

    Raises:
        ConfigError: when a size is below 1 or a feature's vocabulary has no size.

    Example:
        >>> bags = EmbeddingBag({"item": 5}, {"history": "item", "item": "item"}, 2)
        >>> ids = {"item": tf.constant([1, 4]), "history": tf.constant([[1, 2], [0, 0]])}
        >>> bags(ids).shape
        TensorShape([2, 2, 2])
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        vocabularies: Mapping[str, str],
        dim: int,
        *,
        stddev: float = 0.01,
        first_order: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if min((*sizes.values(), dim)) < 1:
            raise ConfigError(
                "`sizes` and `dim` must be at least 1. Received: "
                f"sizes={dict(sizes)}, dim={dim}"
            )
        if not set(vocabularies.values()) <= set(sizes):
            raise ConfigError(
                "`vocabularies` must name those that `sizes` has. Received: "
                f"vocabularies={dict(vocabularies)}, sizes={dict(sizes)}"
            )
        self.sizes, self.dim = dict(sizes), dim
        self.vocabularies = dict(vocabularies)
        self.stddev, self.first_order = float(stddev), first_order
        self._columns = dim + int(first_order)
        ends = list(accumulate(self.sizes.values()))
        self._starts = dict(zip(self.sizes, [0, *ends], strict=False))
        self._rows = ends[-1]

    def build(self, input_shape: Any) -> None:
        """Makes the table."""
        random = keras.initializers.RandomNormal(stddev=self.stddev)

        def initial(shape: Any, dtype: Any = None, **part: Any) -> Any:
            if "partition_shape" in part:
                # Of a part alone: the whole may not fit in this process.
                part["partition_shape"] = [part["partition_shape"][0], self.dim]
            embeddings = random([shape[0], self.dim], dtype=dtype, **part)
            return tf.pad(embeddings, [[0, 0], [0, shape[1] - self.dim]])

        # Uncast: half precision would convert the whole table at every look-up.
        self.table = self.add_weight(
            name="table",
            shape=(self._rows, self._columns),
            initializer=initial,
            experimental_autocast=False,
        )
        super().build(input_shape)

    def rows(self, vocabulary: str) -> slice:
        """Where a vocabulary lies in the table."""
        start = self._starts[vocabulary]
        return slice(start, start + self.sizes[vocabulary])

    def call(self, inputs: Any, pool: bool = True) -> Any:
        """See the class."""
        bags, bag, start = [], [], []
        for k, (name, ids) in enumerate(sorted(inputs.items())):
            places = tf.cast(
                ids if ids.shape.rank == 2 else ids[:, tf.newaxis], tf.int32
            )
            bags.append(places)
            bag += [k] * places.shape[1]
            start += [self._starts[self.vocabularies[name]]] * places.shape[1]
        ids = tf.concat(bags, axis=1)
        filled = ids > 0
        if not pool:
            out = self._places(ids + start, filled)
        elif in_xla():
            out = self._dense(ids + start, filled, bag)
        else:
            out = self._sparse(ids + start, filled, bag)
        out = tf.cast(out, self.compute_dtype)
        if not self.first_order:
            return out
        embeddings, weights = tf.split(out, [self.dim, 1], axis=-1)
        return embeddings, tf.reduce_sum(weights, axis=1)

    def _read(self, ids: Any) -> tuple[Any, Any]:
        """The table's rows of the distinct ids, and each id's place among them."""
        distinct, index = tf.unique(ids)
        rows = rows_of(self.table, distinct)
        # Without a shape set Grappler would replace the few rows by the whole table.
        return tf.ensure_shape(rows, [None, self._columns]), index

    def _sparse(self, ids: Any, filled: Any, bag: list[int]) -> Any:
        count = max(bag) + 1
        batch = tf.shape(ids)[0]
        segment = tf.range(batch)[:, tf.newaxis] * count + bag
        rows, index = self._read(tf.boolean_mask(ids, filled))
        means = tf.sparse.segment_mean(
            rows, index, tf.boolean_mask(segment, filled), num_segments=batch * count
        )
        return tf.reshape(means, [-1, count, self._columns])

    def _dense(self, ids: Any, filled: Any, bag: list[int]) -> Any:
        """The same with static shapes, as XLA needs them."""
        rows = rows_of(self.table, ids)
        member = tf.transpose(tf.one_hot(bag, max(bag) + 1, dtype=rows.dtype))
        share = tf.cast(filled, rows.dtype)[:, tf.newaxis, :] * member
        share /= tf.maximum(tf.reduce_sum(share, axis=2, keepdims=True), 1)
        return tf.matmul(share, rows)

    def _places(self, ids: Any, filled: Any) -> Any:
        if in_xla():
            rows = rows_of(self.table, ids)
        else:
            distinct, index = self._read(tf.reshape(ids, [-1]))
            rows = tf.gather(distinct, index)
            rows = tf.reshape(rows, [-1, ids.shape[1], self._columns])
        return rows * tf.cast(filled, rows.dtype)[:, :, tf.newaxis]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "sizes": self.sizes,
            "vocabularies": self.vocabularies,
            "dim": self.dim,
            "stddev": self.stddev,
            "first_order": self.first_order,
        }
