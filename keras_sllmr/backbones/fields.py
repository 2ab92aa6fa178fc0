"""The shared input assembly: every backbone's fields as embeddings."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import keras
from keras_sllmr.errors import ConfigError
from keras_sllmr.layers.masked_mean import MaskedMean

# From the target's field [batch, 1, d], the history's embeddings [batch, N, d] and its
# ids [batch, N] to the history's field [batch, 1, d].
PoolHistory: TypeAlias = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True)
class Fields:
    """A row's fields as Keras tensors.

    Args:
        inputs: the model's inputs by name.
        embeddings: list of `[batch, 1, d]`, one a field.
        linear: list of `[batch, 1, 1]`, the first-order weights of the fields.
    """

    inputs: dict[str, Any]
    embeddings: list[Any]
    linear: list[Any]


def assemble(
    spec: FeatureSpec,
    *,
    embedding_dim: int = 64,
    embedding_stddev: float = 0.01,
    linear: bool = True,
    text_vectors: np.ndarray | None = None,
    pool_history: PoolHistory | None = None,
) -> Fields:
    """Embeds every field; the target's and the history's tables are shared.

    Args:
        spec: sizes of the features.
        embedding_dim: int. d. Defaults to `64` (paper 4.4).
        embedding_stddev: float. Standard deviation of the initial embeddings.
        linear: bool. Make first-order weights too?
        text_vectors: float `[n_items + 1, t]`. Frozen text vectors of the items; they
            add two fields, the target's text and the mean text of the history.
        pool_history: how the embeddings of the history's items become its field, given
            the target's. Defaults to their mean.

    Raises:
        ConfigError: when `text_vectors` does not have a row an item.
    """
    inputs = spec.inputs()
    embedded = _embed(
        spec, inputs, embedding_dim, embedding_stddev, "embedding", pool_history
    )
    if text_vectors is not None:
        embedded += _text_fields(spec, inputs, embedding_dim, text_vectors)
    first_order = _embed(spec, inputs, 1, 0.0, "linear") if linear else []
    return Fields(inputs, embedded, first_order)


def _embed(
    spec: FeatureSpec,
    inputs: dict[str, Any],
    dim: int,
    stddev: float,
    role: str,
    pool_history: PoolHistory | None = None,
) -> list[Any]:
    def table(name: str, size: int) -> Any:
        return keras.layers.Embedding(
            size + 1,
            dim,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=stddev),
            name=f"{name}_{role}",
        )

    def single(name: str, layer: Any) -> Any:
        return keras.layers.Reshape((1, dim), name=f"{name}_{role}_field")(
            layer(inputs[name])
        )

    def pooled(name: str, layer: Any) -> Any:
        return MaskedMean(name=f"{name}_{role}_field")(
            [layer(inputs[name]), inputs[name]]
        )

    items = table("item", spec.n_items)
    target = single("item", items)
    if pool_history is None:
        history = pooled("history", items)
    else:
        history = pool_history(target, items(inputs["history"]), inputs["history"])
    fields = [target, history]
    if "item_attributes" in inputs:
        attributes = table("attribute", spec.n_attributes)
        fields += [
            pooled("item_attributes", attributes),
            pooled("history_attributes", attributes),
        ]
    if "user" in inputs:
        fields.append(single("user", table("user", spec.n_users)))
    return fields


def _text_fields(
    spec: FeatureSpec, inputs: dict[str, Any], dim: int, vectors: np.ndarray
) -> list[Any]:
    if vectors.ndim != 2 or len(vectors) != spec.n_items + 1:
        raise ConfigError(
            "`text_vectors` must have a row an item and row 0 for padding, shape "
            f"({spec.n_items + 1}, t). Received: shape {vectors.shape}"
        )
    table = keras.layers.Embedding(
        *vectors.shape, trainable=False, name="item_text_vectors"
    )
    # One projection for both sides, so that their product is a learnt text similarity.
    projection = keras.layers.Dense(dim, use_bias=False, name="text_projection")
    target = keras.layers.Reshape((1, vectors.shape[1]), name="item_text")(
        table(inputs["item"])
    )
    # As weights: a constant initialiser would write them into the model's config.
    table.set_weights([vectors])
    history = MaskedMean(name="history_text")(
        [table(inputs["history"]), inputs["history"]]
    )
    return [projection(target), projection(history)]
