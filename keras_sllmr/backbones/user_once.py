"""Runs a functional model with what depends on the user alone computed once a user."""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError


class UserOnce:
    """A functional model over rows that share users.

    Layers that read user features alone run once a user, and their outputs are
    repeated for the user's rows where an item's features join them. The logits equal
    the model's own on materialised rows. Layers that act otherwise in training (dropout,
    batch normalisation, and layers or models that hold some) see all rows, as they would
    in the model itself.

    Args:
        model: a functional `keras.Model` from a dict of features.
        item_inputs: names of the features of an item; the others are of a user.

    Raises:
        ConfigError: when the model is not functional, takes no dict of features or
            lacks one of `item_inputs`; when called without one of its features.

    Example:
        >>> x = {name: keras.Input((2,), name=name) for name in ("age", "price")}
        >>> age = keras.layers.Dense(3)(x["age"])
        >>> both = keras.layers.Concatenate()([age, x["price"]])
        >>> model = UserOnce(keras.Model(x, keras.layers.Dense(1)(both)), ["price"])
        >>> model({"age": tf.ones([2, 2])}, {"price": tf.ones([5, 2])},
        ...       tf.constant([0, 0, 0, 1, 1])).shape
        TensorShape([5, 1])
    """

    def __init__(self, model: Any, item_inputs: Sequence[str]) -> None:
        inputs = getattr(model, "input", None)
        if not getattr(model, "_is_graph_network", False) or not isinstance(
            inputs, dict
        ):
            raise ConfigError(
                "`model` must be a functional keras.Model that takes a dict of features. "
                f"Received: {type(model).__name__}"
            )
        self.model = model
        unknown = sorted(set(item_inputs) - set(inputs))
        if unknown or not item_inputs:
            raise ConfigError(
                "`item_inputs` must name some of the model's inputs, "
                f"{', '.join(inputs)}. Received: {', '.join(unknown) or 'none'}"
            )
        self._inputs = {name: id(tensor) for name, tensor in inputs.items()}
        self._names = tuple(
            {name for name in inputs if (name in item_inputs) == of_item}
            for of_item in (False, True)
        )
        user = {self._inputs[name] for name in self._names[0]}
        self._nodes = [
            node
            for depth in sorted(model._nodes_by_depth, reverse=True)
            for node in model._nodes_by_depth[depth]
            if not node.is_input
        ]
        self._once = set()
        for node in self._nodes:
            sources = {id(tensor) for tensor in node.keras_inputs}
            if sources <= user and not node.layer._expects_training_arg:
                self._once.add(id(node))
                user |= {id(tensor) for tensor in tf.nest.flatten(node.outputs)}
        self._user = user

    def __call__(
        self,
        user: Mapping[str, Any],
        item: Mapping[str, Any],
        rows: Any,
        training: bool = False,
    ) -> Any:
        """The model's output.

        Args:
            user: features of distinct users, each `[users, ...]`.
            item: features of items, each `[rows, ...]`.
            rows: int `[rows]`. The user of each row, from 0.
            training: bool. Is dropout on?
        """
        values: dict[int, Any] = {}
        for side, names, given in zip(
            ("users", "items"), self._names, (user, item), strict=True
        ):
            if not names <= set(given):
                raise ConfigError(
                    f"Features of {side} must include {', '.join(sorted(names))}. "
                    f"Received: {', '.join(given) or 'none'}. Is `item_inputs` right?"
                )
            values |= {self._inputs[name]: given[name] for name in names}
        repeated: dict[int, Any] = {}

        def of_row(key: int) -> Any:
            if key not in self._user:
                return values[key]
            if key not in repeated:
                repeated[key] = _repeat(values[key], rows)
            return repeated[key]

        for node in self._nodes:
            read = values.__getitem__ if id(node) in self._once else of_row
            for tensor, value in zip(
                tf.nest.flatten(node.outputs), _call(node, read, training), strict=True
            ):
                values[id(tensor)] = value
        return of_row(id(self.model.outputs[0]))


def _call(node: Any, read: Any, training: bool) -> list[Any]:
    fed: dict[str, list[Any]] = {}
    for key in node.flat_input_ids:
        fed.setdefault(key, []).append(read(int(key)))
    args, kwargs = node.map_arguments(fed)
    if node.layer._expects_training_arg:
        kwargs["training"] = training
    return list(tf.nest.flatten(node.layer(*args, **kwargs)))


def _repeat(value: Any, rows: Any) -> Any:
    repeated = tf.gather(value, rows)
    mask = getattr(value, "_keras_mask", None)
    if mask is not None:
        repeated._keras_mask = tf.gather(mask, rows)
    return repeated
