"""The graph of a functional model as grid terms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.compat import keras, tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation import split_attention, split_polynomials  # noqa: F401
from keras_sllmr.evaluation.grid_terms import Extent, Joined, Shape, Side, Term, Value
from keras_sllmr.evaluation.split_rules import (
    SPLIT_RULES,
    SplitCall,
    call_for_inference,
)


def input_tensors(model: Any) -> dict[str, Any]:
    """The Keras tensors of a functional model's inputs, by feature name.

    Raises:
        ConfigError: The model is not functional or takes sparse or ragged inputs.
    """
    if not isinstance(model, keras.Model) or not model._is_graph_network:
        raise ConfigError(
            "Grid scoring needs a functional Keras model, built with "
            f"keras.Model(inputs, outputs). Received: {type(model).__name__}"
        )
    inputs = model.input
    if not isinstance(inputs, dict):
        inputs = dict(zip(model.input_names, model.inputs, strict=True))
    for name, tensor in inputs.items():
        if not isinstance(tensor.type_spec, tf.TensorSpec):
            raise ConfigError(
                "Grid scoring needs dense inputs. Received: input "
                f"{name!r} of type {type(tensor.type_spec).__name__}"
            )
    return inputs


def logit_term(model: Any, fed: Mapping[str, Term]) -> Term:
    """The term of a model's logit with one row a pair.

    Args:
        model: Functional model with one output [rows, 1].
        fed: The term of each input, by feature name.

    Raises:
        ConfigError: The model has several outputs or more than one number a row.
    """
    shapes = [tuple(output.shape[1:]) for output in model.outputs]
    if len(shapes) != 1 or any(size != 1 for size in shapes[0]):
        raise ConfigError(
            "Grid scoring needs a model with one output of shape [rows, 1]. "
            f"Received: outputs with row shapes {shapes}"
        )
    inputs = input_tensors(model)
    values: dict[int, Value] = {id(inputs[name]): term for name, term in fed.items()}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if not node.is_input:
                node_inputs = [values[id(tensor)] for tensor in node.keras_inputs]
                outputs = tf.nest.flatten(node.outputs)
                for tensor, value in zip(
                    outputs, _node_values(node, node_inputs), strict=True
                ):
                    values[id(tensor)] = value
    return values[id(model.outputs[0])].rows


def _node_values(node: Any, inputs: Sequence[Value]) -> Sequence[Value]:
    """The values of a node's outputs."""
    terms = [value for value in inputs if isinstance(value, Term)]
    sides = {term.side for term in terms}
    projected = any(term.project for term in terms)
    if len(terms) == len(inputs) and len(sides) == 1 and not projected:
        return _call_terms(node, sides.pop(), terms)
    _require_rows(node, inputs)

    def build() -> Term:
        return _call_terms(node, "pair", [value.rows for value in inputs])[0]

    rule = SPLIT_RULES.get(type(node.layer))
    if rule is not None and _is_plain(node):
        shape = tuple(node.outputs.shape[1:])
        value = rule(SplitCall(node.layer, tuple(inputs), shape, build))
        # Only a Joined can still be built with the mask that the layer attaches.
        masked = getattr(node.outputs, "_keras_mask", None) is not None
        if value is not None and (isinstance(value, Joined) or not masked):
            return [value]
    return _call_terms(node, "pair", [value.rows for value in inputs])


def _call_terms(node: Any, side: Side, inputs: Sequence[Term]) -> list[Term]:
    """Terms of a node's outputs, by calling its layer."""

    def call(_: Extent | None, *tensors: Any) -> Any:
        fed = defaultdict(list)
        for tensor_id, tensor in zip(node.flat_input_ids, tensors, strict=True):
            fed[tensor_id].append(tensor)
        args, kwargs = node.map_arguments(fed)
        return tf.nest.flatten(call_for_inference(node.layer, *args, **kwargs))

    called = Term(side, (), tuple(inputs), call)

    def output(index: int, tensor: Any) -> Term:
        return Term(
            side, _row_shape(tensor), (called,), lambda _, outputs: outputs[index]
        )

    return [output(k, tensor) for k, tensor in enumerate(tf.nest.flatten(node.outputs))]


def _row_shape(tensor: Any) -> Shape:
    return () if tensor.shape.rank is None else tuple(tensor.shape[1:])


def _is_plain(node: Any) -> bool:
    """Whether a rule sees all there is to a call: no constants, options, casts."""
    arguments = tf.nest.flatten((node.call_args, list(node.call_kwargs.values())))
    options = [x for x in arguments if not hasattr(x, "_keras_history")]
    return (
        all(option is None or option is False for option in options)
        and node.layer.compute_dtype == node.layer.variable_dtype
    )


def _require_rows(node: Any, inputs: Sequence[Value]) -> None:
    """Checks that a layer's inputs of one side can be repeated for every pair."""
    for tensor, value in zip(node.keras_inputs, inputs, strict=True):
        one_side = isinstance(value, Term) and value.side != "pair"
        dense = isinstance(tensor.type_spec, tf.TensorSpec)
        if one_side and not (dense and tensor.shape.rank):
            raise ConfigError(
                "Where users and items meet, a layer's inputs must be dense, with one "
                "row an example. Received: for layer "
                f"{node.layer.name!r} an input of {tensor.type_spec}"
            )
