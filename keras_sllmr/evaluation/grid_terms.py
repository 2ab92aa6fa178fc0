"""Tensors of a users x items grid, and which side each of them depends on.

A *term* is one tensor to be computed: on the user side with one row a user, on the
item side with one row an item, or on the pair side with one row a (user, item)
pair, all items of the first user first. What users of a chunk have in common, such as
the distinct items of their histories, is a term of the chunk, and what it gives with
the items of a block is one of the block. A *value* is a term, or a concatenation or
a sum of terms of different sides that is kept apart for as long as possible,
because putting it together costs memory and time for every pair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

from keras_sllmr.compat import tf

Side: TypeAlias = Literal["user", "item", "chunk", "block", "pair"]
Shape: TypeAlias = "tuple[int | None, ...]"
# Gives (kernel, bias or None), so that they are read when terms are computed.
Weights: TypeAlias = "Callable[[], tuple[Any, Any]]"
SIDES: tuple[Side, ...] = ("user", "item", "pair")


class Extent(NamedTuple):
    """How many users and items a grid spans (scalar tensors)."""

    users: Any
    items: Any


@dataclass(frozen=True, eq=False)
class Term:
    """One tensor, and how to compute it.

    Args:
        side: What a row stands for: "user", "item" or "pair". Terms of a "chunk" of
            users, and of a chunk and a "block" of items, have no such rows.
        shape: Static shape of one row; None where a dimension is unknown.
        inputs: The terms that `compute` takes.
        compute: Called as `compute(extent, *tensors)`, with an extent on the pair
            side, and on all sides of a graph that is evaluated as a whole. None for a
            tensor that is fed.
        project: Gives the terms whose sum is the flattened tensor's product with a
            kernel, where that costs less than the tensor itself; None for a kernel
            where it does not.
    """

    side: Side
    shape: Shape
    inputs: tuple[Term, ...] = ()
    compute: Callable[..., Any] | None = None
    project: Callable[[Weights], Sequence[Term] | None] | None = None

    @cached_property
    def rows(self) -> Term:
        """The same tensor with one row a pair."""
        if self.side == "pair":
            return self

        def repeat(extent: Extent, x: Any) -> Any:
            return _repeat(x, self.side, extent, self.shape)

        return Term("pair", self.shape, (self,), repeat)


@dataclass(frozen=True, eq=False)
class Joined:
    """A concatenation of terms that need not be put together.

    Args:
        parts: The terms, in order.
        axis: Axis of the concatenation; the rows are axis 0.
        build: Makes the whole as a pair term, for a layer that has no use for parts.
    """

    parts: tuple[Term, ...]
    axis: int
    build: Callable[[], Term]

    @cached_property
    def rows(self) -> Term:
        """The concatenation with one row a pair."""
        return self.build()


@dataclass(frozen=True, eq=False)
class Summed:
    """A sum of terms of equal shape, one a side at most; see `summed`."""

    terms: tuple[Term, ...]

    @property
    def shape(self) -> Shape:
        """Static shape of one row."""
        return self.terms[0].shape

    @cached_property
    def rows(self) -> Term:
        """The sum with one row a pair."""
        if len(self.terms) == 1:
            return self.terms[0].rows

        def add(extent: Extent, *tensors: Any) -> Any:
            on_grid = [
                _on_grid(x, term.side, extent)
                for x, term in zip(tensors, self.terms, strict=True)
            ]
            return _as_rows(sum(on_grid[1:], on_grid[0]), extent, self.shape)

        return Term("pair", self.shape, self.terms, add)


Value: TypeAlias = Term | Joined | Summed


def summed(terms: Sequence[Term]) -> Summed:
    """Adds terms up side by side, without bringing the sides together."""
    totals = []
    for side in SIDES:
        group = tuple(term for term in terms if term.side == side)
        if len(group) == 1:
            totals.append(group[0])
        elif group:
            shape = group[0].shape
            totals.append(Term(side, shape, group, lambda _, *xs: tf.add_n(xs)))
    return Summed(tuple(totals))


def frontier(output: Term, side: Side) -> list[Term]:
    """The terms of one side that terms of blocks and pairs take as they are."""
    found: dict[Term, None] = {}
    visited = {output}
    pending = [output]
    while pending:
        term = pending.pop()
        if term.side == side:
            found[term] = None
        elif term.side in ("block", "pair"):
            new = [x for x in dict.fromkeys(term.inputs) if x not in visited]
            visited.update(new)
            pending.extend(new)
    return list(found)


def evaluate(
    terms: Sequence[Term], known: Mapping[Term, Any], extent: Extent | None = None
) -> list[Any]:
    """Computes terms from the known ones, each once."""
    tensors = dict(known)

    def tensor_of(term: Term) -> Any:
        if term not in tensors:
            assert term.compute is not None, "a known term was left out"
            tensors[term] = term.compute(extent, *map(tensor_of, term.inputs))
        return tensors[term]

    return [tensor_of(term) for term in terms]


def _on_grid(x: Any, side: Side, extent: Extent) -> Any:
    """Shapes a tensor so that it broadcasts to [users, items, ...]."""
    if side == "user":
        return x[:, tf.newaxis]
    if side == "item":
        return x[tf.newaxis]
    return tf.reshape(x, tf.concat([tf.stack(extent), tf.shape(x)[1:]], axis=0))


def _as_rows(grid: Any, extent: Extent, shape: Shape) -> Any:
    pairs = tf.reshape(extent.users * extent.items, [1])
    rows = tf.reshape(grid, tf.concat([pairs, tf.shape(grid)[2:]], axis=0))
    # Layers such as Dense need the static shape, which the reshape has lost.
    return tf.ensure_shape(rows, (None, *shape))


def _repeat(x: Any, side: Side, extent: Extent, shape: Shape) -> Any:
    full = tf.concat([tf.stack(extent), tf.shape(x)[1:]], axis=0)
    rows = _as_rows(tf.broadcast_to(_on_grid(x, side, extent), full), extent, shape)
    mask = getattr(x, "_keras_mask", None)
    if mask is not None:
        rows._keras_mask = _repeat(mask, side, extent, tuple(mask.shape[1:]))
    return rows
