"""The served graph: raw ids in, look-ups, the bare backbone, scores out."""

import os
from pathlib import Path
from typing import Any

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.serving.column_inputs import ColumnInputs
from keras_sllmr.serving.vocabulary import vocabulary_table
from keras_sllmr.store.feature_store import FeatureStore

DEFAULT = "serving_default"


class RawIdScorer(tf.Module):
    """A backbone behind look-ups of ids, item attributes and columns.

    It holds the vocabularies, the items' attributes and columns and those weights that
    the inference graph reads; nothing of the trainer.

    Args:
        backbone: functional `keras.Model` from a dict of features to logits
            `[batch, 1]`; its inputs are among `user`, `item`, `history`,
            `item_attributes`, `history_attributes` and the columns of `spec`.
        spec: sizes of the features.
        store: the feature store that the backbone was trained on.
        folder: where the vocabulary files are written, one text a line. They must stay
            until the module has been saved, which copies them.

    Raises:
        ConfigError: when backbone, `spec` and `store` do not fit together.
        DataError: when an id or a category holds a line break.
    """

    def __init__(
        self,
        backbone: Any,
        spec: FeatureSpec,
        store: FeatureStore,
        folder: str | os.PathLike[str],
    ) -> None:
        super().__init__()
        check_backbone(backbone, spec, store)
        self._names = tuple(backbone.input)
        self._length, self._width = spec.history_length, spec.attribute_width
        # In a closure, as tf.Module would save a Keras model with all its layers'
        # training functions.
        self._logits = lambda features: backbone(features, training=False)
        folder = Path(folder)
        self._items = vocabulary_table(
            store.item_ids, folder / "item_ids.txt", "item id"
        )
        self._users = None
        if "user" in self._names:
            self._users = vocabulary_table(
                store.user_ids, folder / "user_ids.txt", "user id"
            )
        self._columns = ColumnInputs(
            [column for column in spec.columns if column.name in self._names],
            store,
            folder,
        )
        self._attributes = tf.Variable(
            store.attributes.padded(spec.attribute_width),
            trainable=False,
            name="attributes_of_items",
        )

    def signatures(self) -> dict[str, Any]:
        """The named signatures, traced.

        `serving_default` takes one row a candidate:

        - `item_id`: string `[N]`. An unknown id is scored by the user's side, with
          the padding embeddings as the item's.
        - `history`: string `[N, H]`, any H ≥ 0. The user's items, oldest first. Empty
          strings are padding, wherever they are; unknown ids count as padding too. Of
          what remains the last `history_length` are read.
        - `user_id`: string `[N]`, if the backbone has a user field. An unknown user
          gets the padding embedding.
        - of each user or context column that the backbone reads, an input of its name:
          string `[N]` of a categorical one, string `[N, V]` of a multi-valued one, its
          values in their order and padded with "" to any V ≥ 0, or float32 `[N]` of a
          numeric one, in the unit of the data. "", a value that the store does not
          know, a row of such ones and NaN mean unknown.

        The items' columns are inside, as their attributes are.

        It gives `logit` and `score`, its sigmoid, both float32 `[N]`.
        """
        inputs = [
            tf.TensorSpec([None], tf.string, name="item_id"),
            tf.TensorSpec([None, None], tf.string, name="history"),
        ]
        if self._users is not None:
            inputs.append(tf.TensorSpec([None], tf.string, name="user_id"))
        inputs += self._columns.specs()
        serve = tf.function(self._serve).get_concrete_function(
            **{spec.name: spec for spec in inputs}
        )
        # Saved with the module: the weights that inference reads, and no others.
        self._weights = list(serve.graph.variables)
        return {DEFAULT: serve}

    def _serve(self, **inputs: Any) -> dict[str, Any]:
        items = tf.cast(self._items.lookup(inputs["item_id"]), tf.int32)
        window = self._window(tf.cast(self._items.lookup(inputs["history"]), tf.int32))
        features = {"item": items, "history": window}
        features |= self._columns.of_items(items) | self._columns.of_request(inputs)
        if self._users is not None:
            features["user"] = tf.cast(self._users.lookup(inputs["user_id"]), tf.int32)
        if "item_attributes" in self._names:
            features["item_attributes"] = tf.gather(self._attributes, items)
        if "history_attributes" in self._names:
            features["history_attributes"] = tf.reshape(
                tf.gather(self._attributes, window), [-1, self._length * self._width]
            )
        logits = self._logits({name: features[name] for name in self._names})
        logit = tf.cast(tf.reshape(logits, [-1]), tf.float32)
        return {"score": tf.sigmoid(logit), "logit": logit}

    def _window(self, history: Any) -> Any:
        """The last known items of each row, right-aligned: `[N, history_length]`."""
        padded = tf.pad(history, [[0, 0], [self._length, 0]])
        # A stable sort by "is known" moves the padding to the left and keeps the order.
        order = tf.argsort(tf.cast(padded > 0, tf.int32), axis=1, stable=True)
        packed = tf.gather(padded, order, batch_dims=1)
        return tf.ensure_shape(packed[:, -self._length :], [None, self._length])


def check_backbone(backbone: Any, spec: FeatureSpec, store: FeatureStore) -> None:
    """Raises `ConfigError` unless the backbone reads what `store` and `spec` can give.

    Args:
        backbone: see `RawIdScorer`.
        spec: sizes of the features.
        store: the feature store.
    """
    sizes = (spec.n_users, spec.n_items, spec.n_attributes)
    found = (store.n_users, store.n_items, store.n_attributes)
    if sizes != found:
        raise ConfigError(
            "`spec` must have the store's numbers of users, items and attributes, "
            f"{found}. Received: {sizes}. Export with the store it was trained on."
        )
    length, width = spec.history_length, spec.attribute_width
    shapes = {
        "user": [],
        "item": [],
        "history": [length],
        "item_attributes": [width],
        "history_attributes": [length * width],
        **{column.name: list(column.shape) for column in spec.columns},
    }
    inputs = getattr(backbone, "input", None)
    if not isinstance(inputs, dict) or not set(inputs) <= set(shapes):
        received = sorted(inputs) if isinstance(inputs, dict) else type(backbone)
        raise ConfigError(
            "`backbone` must be a functional keras.Model that takes a dict of features "
            f"among {', '.join(shapes)}; export the `backbone` of a selective model. "
            f"Received: {received}"
        )
    for column in spec.columns:
        if column.name in inputs:
            column.column(store)  # raises when there is none like it
    for name, tensor in inputs.items():
        # Keras itself turns [N] into [N, 1].
        allowed = [shapes[name]] if shapes[name] else [[], [1]]
        if not any(tensor.shape[1:].is_compatible_with(shape) for shape in allowed):
            raise ConfigError(
                f"The backbone's input {name!r} must have the shape that `spec` says, "
                f"{shapes[name]} a row. Received: {list(tensor.shape[1:])}"
            )
