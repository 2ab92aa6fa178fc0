"""A model's logits of users x items as one graph, for use inside another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.grid_graph import input_tensors, logit_term
from keras_sllmr.evaluation.grid_terms import Extent, Term, evaluate


class GridFunction:
    """Scores users with items in a graph, each side's own work done once.

    `GridScorer` cuts a catalogue into blocks; this is for a few users and items, as of
    a request. Dropout is off.

    Args:
        model: functional Keras model from a dict of features to one logit `[rows, 1]`,
            in which a pair's logit depends on the pair's own row only.
        item_inputs: names of the inputs that depend on the item only; the others
            depend on the user only.

    Raises:
        ConfigError: as `GridScorer` does.

    Example:
        >>> from keras_sllmr.compat import keras
        >>> x = {name: keras.Input([1], name=name) for name in ("age", "price")}
        >>> both = keras.layers.Concatenate()([x["age"], x["price"]])
        >>> logit = keras.layers.Dense(1, kernel_initializer="ones")(both)
        >>> grid = GridFunction(keras.Model(x, logit), item_inputs=["price"])
        >>> grid({"age": tf.ones([1, 1])}, {"price": tf.constant([[2.0], [5.0]])})
        <tf.Tensor: shape=(1, 2), dtype=float32, numpy=array([[3., 6.]], dtype=float32)>
    """

    def __init__(self, model: Any, *, item_inputs: Sequence[str]) -> None:
        inputs = input_tensors(model)
        if not 0 < len(set(item_inputs) & set(inputs)) < len(inputs):
            raise ConfigError(
                "`item_inputs` must name some of the model's inputs, but not all: "
                f"{sorted(inputs)}. Received: item_inputs={list(item_inputs)}"
            )
        self._fed = {
            name: Term(
                "item" if name in item_inputs else "user", tuple(tensor.shape[1:])
            )
            for name, tensor in inputs.items()
        }
        self._shapes = {name: tensor.shape for name, tensor in inputs.items()}
        self._logit = logit_term(model, self._fed)

    def __call__(self, users: Mapping[str, Any], items: Mapping[str, Any]) -> Any:
        """Logits `[users, items]`, float32.

        Args:
            users: features of users, each `[users, ...]`.
            items: features of items, each `[items, ...]`.
        """
        given = {**users, **items}
        known = {
            term: tf.reshape(given[name], [-1, *self._shapes[name][1:]])
            for name, term in self._fed.items()
        }
        user, item = (next(iter(side.values())) for side in (users, items))
        extent = Extent(tf.shape(user)[0], tf.shape(item)[0])
        (logits,) = evaluate([self._logit], known, extent)
        return tf.cast(tf.reshape(logits, tf.stack(extent)), tf.float32)
