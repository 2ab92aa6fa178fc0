"""The shared input assembly: every backbone's fields as embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.embedding_bag import EmbeddingBag
from keras_sllmr.layers.numeric_fields import NumericFields

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
    """

    inputs: dict[str, Any]
    embeddings: Any
    first_order: list[Any]


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
    columns = {c.name: c.n_categories for c in spec.columns if c.kind != "numeric"}
    sizes = {"item": spec.n_items, "attribute": spec.n_attributes, "user": spec.n_users}
    sizes |= columns
    vocabularies = _VOCABULARIES | {name: name for name in columns}
    used = {name: vocabularies[name] for name in inputs if name in vocabularies}
    bags = EmbeddingBag(
        {name: n + 1 for name, n in sizes.items() if name in used.values()},
        used,
        embedding_dim,
        stddev=embedding_stddev,
        first_order=first_order,
        name="embedding",
    )
    item = {name: x for name, x in inputs.items() if name in spec.item_inputs}
    user = {name: x for name, x in inputs.items() if name not in spec.item_inputs}
    fields = []
    if pool_history is not None:
        ids = user.pop("history")
        target = bags({"item": inputs["item"]}, pool=False)
        fields.append(pool_history(target, bags({"history": ids}, pool=False), ids))
    embedded = []
    for side, features in (("item", item), ("user", user)):
        bagged = {name: x for name, x in features.items() if name in used}
        numbers = {name: x for name, x in features.items() if name not in used}
        if bagged:
            embedded.append(bags(bagged))
        if numbers:
            numeric = NumericFields(
                embedding_dim,
                stddev=embedding_stddev,
                first_order=first_order,
                name=f"{side}_numbers",
            )
            embedded.append(numeric(numbers))
    weights = []
    if first_order:
        embedded, weights = map(list, zip(*embedded, strict=True))
    fields = [*embedded, *fields]
    if text_vectors is not None:
        fields += _text_fields(spec, inputs, embedding_dim, text_vectors)
    embeddings = keras.layers.Concatenate(axis=1, name="fields")(fields)
    return Fields(inputs, embeddings, weights)


def _text_fields(
    spec: FeatureSpec, inputs: dict[str, Any], dim: int, vectors: np.ndarray
) -> list[Any]:
    if vectors.ndim != 2 or len(vectors) != spec.n_items + 1:
        raise ConfigError(
            "`text_vectors` must have a row an item and row 0 for padding, shape "
            f"({spec.n_items + 1}, t). Received: shape {vectors.shape}"
        )
    table = EmbeddingBag(
        {"item": len(vectors)},
        {"item": "item", "history": "item"},
        vectors.shape[1],
        trainable=False,
        name="item_text",
    )
    # One projection for both sides, so that their product is a learnt text similarity.
    projection = keras.layers.Dense(dim, use_bias=False, name="text_projection")
    fields = [projection(table({name: inputs[name]})) for name in ("item", "history")]
    # As weights: a constant initialiser would write them into the model's config.
    table.set_weights([vectors])
    return fields
