"""The shared input assembly: every backbone's fields as embeddings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.embedding_bag import EmbeddingBag
from keras_sllmr.layers.numeric_fields import NumericFields
from keras_sllmr.layers.tables import fill

# From the target's embedding [batch, 1, d], the history's [batch, N, d] and its ids
# [batch, N] to the history's field [batch, 1, d].
PoolHistory: TypeAlias = Callable[[Any, Any, Any], Any]


# The vocabulary of each feature; a column has its own.
_VOCABULARIES = {
    "item": "item",
    "history": "item",
    "item_attributes": "attribute",
    "history_attributes": "attribute",
    "user": "user",
}


@dataclass(frozen=True)
class Fields:
    """A row's fields as Keras tensors.

    Args:
        inputs: the model's inputs by name.
        embeddings: `[batch, F, d]`: the item's fields, then those of user and context.
        first_order: list of `[batch, 1]`, sums of the fields' weights; maybe empty.
        embed: gives the embeddings `[rows, F, d]` of other rows, a dict of the same
            features but for `FeatureSpec.knowledge_inputs`, by the same weights; a
            history counts by its mean there.
    """

    inputs: dict[str, Any]
    embeddings: Any
    first_order: list[Any]
    embed: Callable[[Mapping[str, Any]], Any]


def assemble(
    spec: FeatureSpec,
    *,
    embedding_dim: int = 64,
    embedding_stddev: float = 0.01,
    first_order: bool = True,
    text_vectors: np.ndarray | None = None,
    pool_history: PoolHistory | None = None,
) -> Fields:
    """Embeds every field; target and history share their vocabularies' tables.

    What depends on the item alone and what depends on the user alone stay apart until
    the last concatenation, so that either side can be computed once for many rows.
    Columns are fields like the others: categories are embedded, numbers multiply an
    embedding; context counts as the user's.

    Args:
        spec: sizes of the features.
        embedding_dim: int. d. Defaults to `64` (paper 4.4).
        embedding_stddev: float. Standard deviation of the initial embeddings.
        first_order: bool. Make first-order weights too?
        text_vectors: float `[n_items + 1, t]`. Frozen text vectors of the items; they
            add two fields, the target's text and the mean text of the history.
        pool_history: how the embeddings of the history's items become its field, given
            the target's. Defaults to their mean.

    Raises:
        ConfigError: when `text_vectors` does not have a row an item.
    """
    inputs = spec.inputs()
    layers = _RowFields(
        spec,
        [name for name in inputs if name not in spec.knowledge_inputs],
        dim=embedding_dim,
        stddev=embedding_stddev,
        first_order=first_order,
        text_vectors=text_vectors,
    )
    fields, weights = layers(inputs, pool_history)
    mean = None if pool_history is None else layers.mean_history

    def embed(rows: Mapping[str, Any]) -> Any:
        return _joined(layers(rows, mean)[0], "fields_of_examples")

    return Fields(inputs, _joined(fields, "fields"), weights, embed)


def _joined(fields: list[Any], name: str) -> Any:
    return keras.layers.Concatenate(axis=1, name=name)(fields)


class _RowFields:
    """The layers that embed rows; every call is by the same weights."""

    def __init__(
        self,
        spec: FeatureSpec,
        names: Sequence[str],
        *,
        dim: int,
        stddev: float,
        first_order: bool,
        text_vectors: np.ndarray | None,
    ) -> None:
        columns = {c.name: c.n_categories for c in spec.columns if c.kind != "numeric"}
        sizes = {
            "item": spec.n_items,
            "attribute": spec.n_attributes,
            "user": spec.n_users,
            **columns,
        }
        vocabularies = _VOCABULARIES | {name: name for name in columns}
        self._used = {n: vocabularies[n] for n in names if n in vocabularies}
        self._sides = [
            [name for name in names if (name in spec.item_inputs) == of_item]
            for of_item in (True, False)
        ]
        self._first_order = first_order
        self._bags = EmbeddingBag(
            {name: n + 1 for name, n in sizes.items() if name in self._used.values()},
            self._used,
            dim,
            stddev=stddev,
            first_order=first_order,
            name="embedding",
        )
        self._numbers = [
            NumericFields(
                dim, stddev=stddev, first_order=first_order, name=f"{side}_numbers"
            )
            for side in ("item", "user")
        ]
        self._text = (
            None if text_vectors is None else _TextFields(spec, dim, text_vectors)
        )

    def __call__(
        self, rows: Mapping[str, Any], pool_history: PoolHistory | None
    ) -> tuple[list[Any], list[Any]]:
        """The fields of rows, and their first-order sums, each a list of tensors."""
        apart = {"history"} if pool_history is not None else set()
        pooled = []
        if pool_history is not None:
            ids = rows["history"]
            target = self._bags({"item": rows["item"]}, pool=False)
            pooled = [
                pool_history(target, self._bags({"history": ids}, pool=False), ids)
            ]
        embedded = []
        for names, numeric in zip(self._sides, self._numbers, strict=True):
            own = {name: rows[name] for name in names if name not in apart}
            bagged = {name: x for name, x in own.items() if name in self._used}
            numbers = {name: x for name, x in own.items() if name not in self._used}
            if bagged:
                embedded.append(self._bags(bagged))
            if numbers:
                embedded.append(numeric(numbers))
        weights = []
        if self._first_order:
            embedded, weights = map(list, zip(*embedded, strict=True))
        fields = [*embedded, *pooled]
        return fields + (self._text(rows) if self._text else []), weights

    def mean_history(self, target: Any, history: Any, ids: Any) -> Any:
        """The mean of a history's embeddings, `[rows, 1, d]`; see `PoolHistory`."""
        return self._bags({"history": ids})


class _TextFields:
    """Frozen text vectors of the target and, by their mean, of the history."""

    def __init__(self, spec: FeatureSpec, dim: int, vectors: np.ndarray) -> None:
        if vectors.ndim != 2 or len(vectors) != spec.n_items + 1:
            raise ConfigError(
                "`text_vectors` must have a row an item and row 0 for padding, shape "
                f"({spec.n_items + 1}, t). Received: shape {vectors.shape}"
            )
        # One projection for both, so that their product is a learnt text similarity.
        self._projection = keras.layers.Dense(
            dim, use_bias=False, name="text_projection"
        )
        self._read = frozen_table(
            vectors, {"item": "item", "history": "item"}, name="item_text"
        )

    def __call__(self, rows: Mapping[str, Any]) -> list[Any]:
        return [
            self._projection(self._read({name: rows[name]}))
            for name in ("item", "history")
        ]


def frozen_table(
    vectors: np.ndarray, vocabularies: Mapping[str, str], *, name: str
) -> Callable[[dict[str, Any]], Any]:
    """Given vectors of one vocabulary as a table that is not trained.

    Args:
        vectors: float `[ids, t]`. Row 0 is padding.
        vocabularies: the vocabulary's name by the features that read it.
        name: of the layer.

    Returns:
        A function from some of the features to their mean vectors, `[rows, F, t]`.
    """
    (vocabulary,) = set(vocabularies.values())
    table = EmbeddingBag(
        {vocabulary: len(vectors)},
        vocabularies,
        vectors.shape[1],
        trainable=False,
        name=name,
    )

    def read(features: dict[str, Any]) -> Any:
        made = table.built
        found = table(features)
        if not made:
            # As weights: a constant initialiser would write them into the config.
            fill(table, [vectors])
        return found

    return read
