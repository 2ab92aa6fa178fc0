"""DeepFM: a factorisation machine and a perceptron over shared embeddings."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.fields import assemble
from keras_sllmr.compat import deepctr_layers, keras


def deepfm(
    spec: FeatureSpec,
    *,
    embedding_dim: int = 64,
    dnn_hidden_units: Sequence[int] = (200, 80),
    dnn_dropout: float = 0.3,
    dnn_activation: str = "relu",
    embedding_stddev: float = 0.01,
    text_vectors: np.ndarray | None = None,
    seed: int = 0,
) -> Any:
    r"""DeepFM as a functional Keras model that ends in a logit.

    \(\hat y = b + \sum_f w_f + \sum_{f<g} \langle e_f, e_g\rangle + \mathrm{MLP}(e)\)

    Args:
        spec: sizes of the features.
        embedding_dim: int. Defaults to `64`.
        dnn_hidden_units: ints. Units of the perceptron. Defaults to `(200, 80)`.
        dnn_dropout: float in [0, 1). Defaults to `0.3`.
        dnn_activation: str. Defaults to `"relu"`.
        embedding_stddev: float. Of the initial embeddings. Defaults to `0.01`.
        text_vectors: float `[n_items + 1, t]`. Frozen text vectors of the items, as
            two more fields. Defaults to none.
        seed: int. Of the initial weights and the dropout. Sets Keras's own seed.

    Returns:
        A `keras.Model` from a dict of features to logits `[batch, 1]`.

    Example:
        >>> spec = FeatureSpec(n_users=5, n_items=7, n_attributes=3)
        >>> deepfm(spec, embedding_dim=4).output_shape
        (None, 1)

    Reference:
        Guo et al., "DeepFM: A factorization-machine based neural network for CTR
        prediction", IJCAI 2017.
    """
    keras.utils.set_random_seed(seed)
    fields = assemble(
        spec,
        embedding_dim=embedding_dim,
        embedding_stddev=embedding_stddev,
        text_vectors=text_vectors,
    )
    stacked = keras.layers.Concatenate(axis=1, name="fields")(fields.embeddings)
    first_order = keras.layers.Add(name="first_order")(fields.linear)
    second_order = deepctr_layers.FM(name="fm")(stacked)
    flat = keras.layers.Flatten(name="flat")(stacked)
    hidden = deepctr_layers.DNN(
        list(dnn_hidden_units),
        activation=dnn_activation,
        dropout_rate=dnn_dropout,
        seed=seed,
        name="dnn",
    )(flat)
    logit = keras.layers.Add(name="logit")(
        [
            keras.layers.Flatten(name="first_order_logit")(first_order),
            second_order,
            keras.layers.Dense(1, name="dnn_logit")(hidden),
        ]
    )
    return keras.Model(fields.inputs, logit, name="deepfm")
