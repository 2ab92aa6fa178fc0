"""Rules that keep the user and the item half of a layer's work apart.

On a grid of users x items, most of a ranking model's work is linear in the
concatenation of user and item fields, so each half is computed once a user or once
an item, and a pair costs one addition or one row of a matrix product:

    Dense, first layer of DNN:  [u, i] W + b = (u W_u + b) + i W_i
    FM:                         FM([u, i]) = FM(u) + FM(i) + <sum u, sum i>

A rule is a function of a `SplitCall` registered for layer types with `split_rule`.
It gives the value of the layer's output, or None where it does not apply; the layer
is then simply called with one row a pair.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import Any, TypeAlias

from keras_sllmr.compat import deepctr_layers, keras, tf
from keras_sllmr.evaluation.grid_terms import (
    SIDES,
    Extent,
    Joined,
    Shape,
    Summed,
    Term,
    Value,
    Weights,
    summed,
)
from keras_sllmr.layers.one_precision import DNN


@dataclass(frozen=True)
class SplitCall:
    """One call of a layer whose inputs depend on both sides.

    Args:
        layer: The layer.
        values: Its inputs, flattened.
        shape: Static shape of one row of its output.
        build: Makes the output the general way, as a pair term.
    """

    layer: Any
    values: tuple[Value, ...]
    shape: Shape
    build: Callable[[], Term]


SplitRule: TypeAlias = Callable[[SplitCall], "Value | None"]

SPLIT_RULES: dict[type, SplitRule] = {}


def split_rule(*layer_types: type) -> Callable[[SplitRule], SplitRule]:
    """Registers a rule for layer types (exactly these, not their subclasses)."""

    def register(rule: SplitRule) -> SplitRule:
        SPLIT_RULES.update(dict.fromkeys(layer_types, rule))
        return rule

    return register


def call_for_inference(layer: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer with `training=False` where it has such an argument."""
    if layer._expects_training_arg:
        kwargs.setdefault("training", False)
    return layer(*args, **kwargs)


@split_rule(keras.layers.Concatenate, deepctr_layers.Concat)
def _concatenate(call: SplitCall) -> Value | None:
    axis = call.layer.axis % (1 + len(call.shape))
    parts: list[Term] = []
    for value in call.values:
        if isinstance(value, Joined) and value.axis == axis:
            parts.extend(value.parts)
        else:
            parts.append(value if isinstance(value, Term) else value.rows)
    if axis == 0 or any(part.shape[axis - 1] is None for part in parts):
        return None
    return Joined(tuple(parts), axis, call.build)


@split_rule(keras.layers.Dropout, deepctr_layers.NoMask)
def _identity(call: SplitCall) -> Value | None:
    (value,) = call.values
    if isinstance(value, Joined):
        return Joined(value.parts, value.axis, call.build)
    return value if isinstance(value, Summed) else None


@split_rule(keras.layers.Flatten, keras.layers.Reshape)
def _flatten(call: SplitCall) -> Value | None:
    (value,) = call.values
    terms = value.parts if isinstance(value, Joined) else getattr(value, "terms", ())
    if len(call.shape) != 1 or any(None in term.shape for term in terms):
        return None
    if getattr(call.layer, "data_format", None) == "channels_first":
        return None
    if isinstance(value, Term):
        return _flat(value)
    if isinstance(value, Summed):
        return summed(list(map(_flat, terms)))
    # With an outer axis in front, flattening would interleave the parts.
    if isinstance(value, Joined) and prod(terms[0].shape[: value.axis - 1]) == 1:
        return Joined(tuple(map(_flat, terms)), 1, call.build)
    return None


@split_rule(keras.layers.Dense)
def _dense(call: SplitCall) -> Value | None:
    layer = call.layer
    total = affine(call.values[0], lambda: (layer.kernel, layer.bias))
    if total is None or layer.activation is keras.activations.linear:
        return total
    return Term("pair", total.shape, (total.rows,), lambda _, x: layer.activation(x))


@split_rule(deepctr_layers.DNN, DNN)
def _dnn(call: SplitCall) -> Value | None:
    layer = call.layer
    if not layer.hidden_units:
        return None
    first = affine(call.values[0], lambda: (layer.kernels[0], layer.bias[0]))
    if first is None:
        return None

    def tower(_: Extent, x: Any) -> Any:
        for i in range(len(layer.hidden_units)):
            if i:
                x = tf.nn.bias_add(tf.matmul(x, layer.kernels[i]), layer.bias[i])
            if layer.use_bn:
                x = call_for_inference(layer.bn_layers[i], x)
            x = call_for_inference(layer.activation_layers[i], x)
        return x

    return Term("pair", call.shape, (first.rows,), tower)


@split_rule(deepctr_layers.FM)
def _fm(call: SplitCall) -> Value | None:
    (value,) = call.values
    if not isinstance(value, Joined) or value.axis != 1:
        return None
    by_side = {
        side: tuple(part for part in value.parts if part.side == side) for side in SIDES
    }
    if by_side["pair"]:
        return None
    size = value.parts[0].shape[1:]
    halves: list[Term] = []
    sums: list[Term] = []
    for side in ("user", "item"):
        fields = by_side[side]
        halves.append(Term(side, (1,), fields, _fm_half))
        sums.append(Term(side, size, fields, _field_sum))
    cross = Term("pair", (1,), tuple(sums), products)
    return summed([*halves, cross])


@split_rule(keras.layers.Add, deepctr_layers._Add)
def _add(call: SplitCall) -> Value | None:
    terms: list[Term] = []
    for value in call.values:
        if isinstance(value, Summed):
            terms.extend(value.terms)
        else:
            terms.append(value.rows if isinstance(value, Joined) else value)
    shapes = {term.shape for term in terms}
    if len(shapes) > 1 or None in terms[0].shape:
        return None
    return summed(terms)


def affine(value: Value, weights: Weights) -> Summed | None:
    """Splits `value @ kernel + bias` for a value of shape [rows, size]."""
    if isinstance(value, Summed):
        shape = value.shape
        pieces = [(term, slice(None)) for term in value.terms]
    elif isinstance(value, Joined):
        shape = value.parts[0].shape
        pieces = list(zip(value.parts, spans(value), strict=True))
    elif value.project is not None:
        shape, pieces = value.shape, [(value, slice(None))]
    else:
        return None
    if len(shape) != 1:
        return None
    terms: list[Term] = []
    whole = []
    for term, span in pieces:
        projected = term.project and term.project(_rows_of(weights, span))
        if projected:
            terms.extend(projected)
        else:
            whole.append((term, span))
    if not whole:
        return summed([_with_bias(terms[0], weights), *terms[1:]])
    # The bias goes with the first side, users if any: the fewest additions.
    with_bias = True
    for side in SIDES:
        group = [piece for piece in whole if piece[0].side == side]
        if group:
            terms.append(_product_with(weights, group, with_bias))
            with_bias = False
    return summed(terms)


def spans(value: Joined) -> list[slice]:
    """Where each part lies on the last axis."""
    ends = list(accumulate(part.shape[-1] or 0 for part in value.parts))
    return list(map(slice, [0, *ends], ends))


def products(_: Extent, users: Any, items: Any) -> Any:
    """The inner product of each user's vector with each item's, [pairs, 1]."""
    # Items first: with few rows in front, a product takes a kernel that rounds
    # differently, and there are always more items than users in a block.
    product = tf.matmul(items, users, transpose_b=True)
    return tf.reshape(tf.transpose(product), [-1, 1])


def _rows_of(weights: Weights, span: slice) -> Weights:
    return lambda: (weights()[0][span], None)


def _with_bias(term: Term, weights: Weights) -> Term:
    def add(_: Extent | None, x: Any) -> Any:
        bias = weights()[1]
        return x if bias is None else tf.nn.bias_add(x, bias)

    return Term(term.side, term.shape, (term,), add)


def _product_with(
    weights: Weights, pieces: Sequence[tuple[Term, slice]], with_bias: bool
) -> Term:
    """The product of terms of one side with their rows of the kernel."""
    terms, places = zip(*pieces, strict=True)

    def compute(_: Extent | None, *tensors: Any) -> Any:
        kernel, bias = weights()
        x = tf.concat([tf.cast(tensor, kernel.dtype) for tensor in tensors], axis=1)
        y = tf.matmul(x, tf.concat([kernel[span] for span in places], axis=0))
        return tf.nn.bias_add(y, bias) if with_bias and bias is not None else y

    units = int(weights()[0].shape[-1])
    return Term(terms[0].side, (units,), terms, compute)


def _flat(part: Term) -> Term:
    size = prod(size for size in part.shape if size is not None)

    def compute(_: Extent | None, x: Any) -> Any:
        return tf.reshape(x, [-1, size])

    return Term(part.side, (size,), (part,), compute, part.project)


def _field_sum(_: Extent | None, *fields: Any) -> Any:
    return tf.reduce_sum(tf.concat(fields, axis=1), axis=1)


def _fm_half(_: Extent | None, *fields: Any) -> Any:
    x = tf.concat(fields, axis=1)
    pairs = tf.square(tf.reduce_sum(x, axis=1)) - tf.reduce_sum(tf.square(x), axis=1)
    return 0.5 * tf.reduce_sum(pairs, axis=1, keepdims=True)
