r"""Rules for layers whose projection is a polynomial of the fields.

Followed by a linear layer to one unit, a network of products collapses: each product
of user and item fields is a user's number times an item's, so that the logits of all
pairs are one matrix product.

    CrossNet, vector:  x_L = alpha x_0 + beta with a number alpha a pair
    CrossNet, matrix:  w x_2 = sum_k x_0k (W_0 x_0 + b_0 + 1)_k (w + (w x_0) W_1)_k + ...
    CIN:               sum_d sum_mn C_mn U_md I_nd with monomials U and I of the fields
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations_with_replacement, product
from math import prod
from typing import Any

from keras_sllmr.compat import deepctr_layers, tf
from keras_sllmr.evaluation.grid_terms import (
    Extent,
    Joined,
    Side,
    Summed,
    Term,
    Weights,
)
from keras_sllmr.evaluation.split_rules import (
    SplitCall,
    affine,
    products,
    spans,
    split_rule,
)
from keras_sllmr.layers.cin import CIN
from keras_sllmr.layers.cross_net import CrossNet

_BOTH: tuple[Side, Side] = ("user", "item")


@split_rule(CrossNet, deepctr_layers.CrossNet)
def _cross_net(call: SplitCall) -> Term | None:
    (x,) = call.values
    if not isinstance(x, Joined) or {part.side for part in x.parts} != set(_BOTH):
        return None
    ways = {"vector": _vector_cross, "matrix": _matrix_cross}
    way = ways[call.layer.parameterization]
    return replace(call.build(), project=lambda head: way(call.layer, x, head))


def _vector_cross(layer: Any, x: Joined, head: Weights) -> Sequence[Term] | None:
    kernels, count = layer.kernels, len(layer.kernels)
    sums = _affine(x, lambda: (tf.concat([*kernels, head()[0]], axis=1), None))

    def compute(_: Extent, along: Any) -> Any:
        last = head()[0]
        alpha, beta = tf.ones_like(along[:, :1]), tf.zeros_like(kernels[0])
        for k, (kernel, bias) in enumerate(zip(kernels, layer.bias, strict=True)):
            of_beta = tf.matmul(beta, kernel, transpose_a=True)
            alpha = alpha * (1.0 + along[:, k : k + 1]) + of_beta
            beta += bias
        return alpha * along[:, count:] + tf.matmul(beta, last, transpose_a=True)

    units = int(head()[0].shape[-1])
    return [Term("pair", (units,), (sums.rows,), compute)]


def _matrix_cross(layer: Any, x: Joined, head: Weights) -> Sequence[Term] | None:
    if head()[0].shape[-1] != 1:
        return None
    kernels, biases = layer.kernels, layer.bias

    def first() -> tuple[Any, Any]:
        return tf.transpose(kernels[0]), tf.reshape(biases[0], [-1]) + 1.0

    def last() -> tuple[Any, Any]:
        w = head()[0]
        return w * kernels[-1], tf.reshape(w, [-1])

    def constant() -> tuple[Any, Any]:
        return head()[0] * biases[-1], None

    # The layer before the last is x_0 (W_0 x_0 + b_0 + 1) if there are two.
    weights = [last] if len(kernels) == 1 else [first, last]
    factors = [_affine(x, factor) for factor in weights]
    bias = _affine(x, constant)
    if len(kernels) < 3:
        return [*bias.terms, *_sum_of_products(x, factors)]

    def compute(_: Extent, x0: Any, first: Any, last: Any) -> Any:
        xl = x0 * first
        for kernel, offset in zip(kernels[1:-1], biases[1:-1], strict=True):
            y = tf.matmul(xl, kernel, transpose_b=True)
            xl += x0 * tf.nn.bias_add(y, tf.reshape(offset, [-1]))
        return tf.reduce_sum(xl * last, axis=1, keepdims=True)

    rows = (x.rows, *(factor.rows for factor in factors))
    return [*bias.terms, Term("pair", (1,), rows, compute)]


def _affine(x: Joined, weights: Weights) -> Summed:
    total = affine(x, weights)
    assert total is not None, "the parts of a concatenation of units are vectors"
    return total


def _sum_of_products(x: Joined, factors: Sequence[Summed]) -> list[Term]:
    r"""Splits \\(\\sum_k x_k \\prod_j f_{jk}\\), each factor the sum of two halves.

    Multiplied out, a product is of what is taken of the users' halves and of the items'.
    """
    places = {
        side: [
            span
            for part, span in zip(x.parts, spans(x), strict=True)
            if part.side == side
        ]
        for side in _BOTH
    }
    # Which factors are the users' in a product.
    choices = list(product((True, False), repeat=len(factors)))

    def half(side: Side) -> tuple[Term, Term]:
        parts = tuple(part for part in x.parts if part.side == side)
        inputs = (*parts, *(_of(factor, side) for factor in factors))

        def split(tensors: tuple[Any, ...]) -> tuple[Any, Any]:
            return tf.concat(tensors[: len(parts)], axis=1), tensors[len(parts) :]

        def alone(_: None, *tensors: Any) -> Any:
            own, halves = split(tensors)
            whole = prod((_columns(h, places[side]) for h in halves), start=own)
            return tf.reduce_sum(whole, axis=1, keepdims=True)

        def together(_: None, *tensors: Any) -> Any:
            own, halves = split(tensors)
            vectors = []
            for columns_of in _BOTH:
                for choice in choices:
                    taken = [
                        _columns(h, places[columns_of])
                        for h, of_user in zip(halves, choice, strict=True)
                        if of_user == (side == "user")
                    ]
                    # Whatever is all of one side is counted in `alone`.
                    if set(choice) == {columns_of == "user"}:
                        continue
                    if columns_of == side:
                        taken.append(own)
                    vectors.append(prod(taken[1:], start=taken[0]))
            return tf.concat(vectors, axis=1)

        return (
            Term(side, (1,), inputs, alone),
            Term(side, (None,), inputs, together),
        )

    (user, of_user), (item, of_item) = map(half, _BOTH)
    return [user, item, Term("pair", (1,), (of_user, of_item), products)]


def _of(factor: Summed, side: Side) -> Term:
    (term,) = (term for term in factor.terms if term.side == side)
    return term


def _columns(x: Any, places: Sequence[slice]) -> Any:
    return tf.concat([x[:, span] for span in places], axis=1)


@split_rule(CIN)
def _cin(call: SplitCall) -> Term | None:
    (x,) = call.values
    if not isinstance(x, Joined) or x.axis != 1 or not call.layer.is_polynomial:
        return None
    if {part.side for part in x.parts} != set(_BOTH):
        return None
    return replace(call.build(), project=lambda head: _cin_logit(call.layer, x, head))


def _cin_logit(layer: CIN, x: Joined, head: Weights) -> Sequence[Term] | None:
    if head()[0].shape[-1] != 1:
        return None
    most = len(layer.layer_size) + 1
    sides = [part.side for part in x.parts for _ in range(part.shape[0] or 0)]
    # A field's number among those of its side.
    number = [sides[:k].count(side) for k, side in enumerate(sides)]
    monomials = {
        side: [
            chosen
            for degree in range(most + 1)
            for chosen in combinations_with_replacement(
                range(sides.count(side)), degree
            )
        ]
        for side in _BOTH
    }
    index = {
        side: {chosen: k for k, chosen in enumerate(monomials[side])} for side in _BOTH
    }
    columns = len(monomials["item"])

    def cell(fields: tuple[int, ...]) -> int:
        row, column = (
            index[side][tuple(sorted(number[f] for f in fields if sides[f] == side))]
            for side in _BOTH
        )
        return row * columns + column

    # Each product of n fields, in the order of the layer's coefficients.
    cells = [
        [cell(fields) for fields in product(range(len(sides)), repeat=degree)]
        for degree in range(most + 1)
    ]

    def coefficients() -> Any:
        kernels = tf.split(head()[0], [int(c.shape[1]) for _, c in layer.polynomials()])
        values, places = [], []
        for (degrees, of_maps), kernel in zip(
            layer.polynomials(), kernels, strict=True
        ):
            values.append(tf.matmul(of_maps, kernel)[:, 0])
            places += [place for degree in degrees for place in cells[degree]]
        size = len(monomials["user"]) * columns
        total = tf.math.unsorted_segment_sum(tf.concat(values, 0), places, size)
        return tf.reshape(total, [-1, columns])

    def powers(fields: tuple[Any, ...], side: Side) -> Any:
        """The monomials of one side, [rows, monomials, d]."""
        x = tf.unstack(tf.concat(fields, axis=1), axis=1)
        found: dict[tuple[int, ...], Any] = {(): tf.ones_like(x[0])}
        for chosen in monomials[side][1:]:
            found[chosen] = found[chosen[:-1]] * x[chosen[-1]]
        return tf.stack(list(found.values()), axis=1)

    def alone(_: None, *fields: Any) -> Any:
        total = tf.reduce_sum(powers(fields, "user"), axis=2)
        return tf.matmul(total, coefficients()[:, :1])

    def users(_: None, *fields: Any) -> Any:
        found = powers(fields, "user")
        found = tf.einsum("umd,mn->und", found, coefficients()[:, 1:])
        return _flat(found)

    def items(_: None, *fields: Any) -> Any:
        return _flat(powers(fields, "item")[:, 1:])

    of_user, of_item = (
        tuple(part for part in x.parts if part.side == side) for side in _BOTH
    )
    vectors = (
        Term("user", (None,), of_user, users),
        Term("item", (None,), of_item, items),
    )
    # What no item has a part in stays apart, as it may be large.
    return [Term("user", (1,), of_user, alone), Term("pair", (1,), vectors, products)]


def _flat(x: Any) -> Any:
    return tf.reshape(x, [-1, x.shape[1] * x.shape[2]])
