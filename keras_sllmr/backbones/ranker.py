"""What the backbones share: fields, first order, perceptron and the sum of logits."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.fields import Fields, PoolHistory, assemble
from keras_sllmr.compat import keras
from keras_sllmr.layers.one_precision import DNN

#: From a row's fields to knowledge of it, `[batch, k]`; see `backbones.knowledge`.
Inject: TypeAlias = Callable[[Fields], Any]

#: Where that goes: one more `field`; beside the `flat` fields of interaction and
#: perceptron; or of the perceptron alone, `deep`, with a linear term.
Place: TypeAlias = Literal["field", "flat", "deep"]


def ranker(
    name: str,
    spec: FeatureSpec,
    interaction: Callable[..., Any] | None = None,
    *,
    embedding_dim: int = 64,
    dnn_hidden_units: Sequence[int] = (200, 80),
    dnn_dropout: float = 0.3,
    dnn_activation: str = "relu",
    embedding_stddev: float = 0.01,
    text_vectors: np.ndarray | None = None,
    seed: int = 0,
    first_order: bool = True,
    pool_history: PoolHistory | None = None,
    inject: Inject | None = None,
    place: Place = "flat",
) -> Any:
    r"""A functional Keras model whose logit is a sum of parts over shared fields.

    \(\hat y = b + \sum_f w_f + \mathrm{interaction}(e) + \mathrm{MLP}(e)\)

    A head on two concatenated parts is the sum of a head on each, so this covers the
    backbones whose papers concatenate as well as those whose papers add.

    Args:
        name: str. The model's name.
        spec: sizes of the features.
        interaction: a function from the fields \(e\), `[batch, F, d]`, and knowledge
            placed `flat`, if any, to logits `[batch, 1]`, that makes its layers when
            called. Defaults to none.
        embedding_dim: int. d. Defaults to `64`.
        dnn_hidden_units: ints. Units of the perceptron. Defaults to `(200, 80)`.
        dnn_dropout: float in [0, 1). Defaults to `0.3`.
        dnn_activation: str. Defaults to `"relu"`.
        embedding_stddev: float. Of the initial embeddings. Defaults to `0.01`.
        text_vectors: float `[n_items + 1, t]`. Frozen text vectors of the items, as
            two more fields. Defaults to none.
        seed: int. Of the initial weights and the dropout. Sets Keras's own seed.
        first_order: bool. Add the fields' first-order weights? Defaults to `True`.
        pool_history: how the history becomes a field. Defaults to its mean.
        inject: gives knowledge of a row. Defaults to none.
        place: where the backbone takes it: `field`, `flat` or `deep`.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> ranker("wide_and_deep", spec, embedding_dim=4).output_shape
        (None, 1)
    """
    keras.utils.set_random_seed(seed)
    fields = assemble(
        spec,
        embedding_dim=embedding_dim,
        embedding_stddev=embedding_stddev,
        first_order=first_order,
        text_vectors=text_vectors,
        pool_history=pool_history,
    )
    embeddings, logits = fields.embeddings, list(fields.first_order)
    beside = []
    if inject is not None:
        knowledge = inject(fields)
        if place == "field":
            field = keras.layers.Dense(
                embedding_dim, use_bias=False, name="knowledge_projection"
            )(knowledge)
            field = keras.layers.Reshape((1, embedding_dim), name="knowledge_field")(
                field
            )
            embeddings = keras.layers.Concatenate(axis=1, name="all_fields")(
                [embeddings, field]
            )
        else:
            beside = [knowledge]
        if place == "deep":
            logits.append(head("knowledge_logit")(knowledge))
    if interaction is not None:
        logits.append(interaction(embeddings, *(beside if place == "flat" else [])))
    flat = keras.layers.Flatten(name="flat")(embeddings)
    if beside:
        flat = keras.layers.Concatenate(name="flat_and_knowledge")([flat, *beside])
    hidden = DNN(
        list(dnn_hidden_units),
        activation=dnn_activation,
        dropout_rate=dnn_dropout,
        seed=seed,
        name="dnn",
    )(flat)
    logits.append(keras.layers.Dense(1, name="dnn_logit")(hidden))
    if len(logits) > 1:
        logits = [keras.layers.Add(name="logit")(logits)]
    return keras.Model(fields.inputs, logits[0], name=name)


def head(name: str) -> Any:
    """A linear layer to one logit; the bias is the perceptron's."""
    return keras.layers.Dense(1, use_bias=False, name=name)
