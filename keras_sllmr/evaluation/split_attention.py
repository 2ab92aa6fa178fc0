"""Rules for attention between a user's and an item's vectors.

DIN's weight of a history's item depends on that item and the target alone. So the
weights are looked up in a table of the distinct history items of a chunk of users by
the targets of a block, and the pooled history's product with the next kernel is the
weights' product with the history's own.

AutoInt's fields attend to each other: queries, keys and values are computed a side,
and so are the scores within a side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_sllmr.compat import deepctr_layers, tf
from keras_sllmr.evaluation.grid_terms import Extent, Joined, Side, Term, Weights
from keras_sllmr.evaluation.split_rules import SplitCall, split_rule
from keras_sllmr.layers.attention_pooling import AttentionPooling


@split_rule(AttentionPooling)
def _attention_pooling(call: SplitCall) -> Term | None:
    layer, (query, keys, *_) = call.layer, call.values
    if not isinstance(query, Term) or not isinstance(keys, Term):
        return None
    if (query.side, keys.side) != ("item", "user") or not layer.has_table:
        return None
    length, dim = keys.shape
    assert length is not None and dim is not None, "an embedded sequence"

    def distinct(_: None, x: Any) -> Any:
        return tf.raw_ops.UniqueV2(x=tf.reshape(x, [-1, dim]), axis=[0])

    found = Term("chunk", (), (keys,), distinct)
    each = Term("chunk", (None, dim), (found,), lambda _, unique: unique.y)
    place = Term(
        "user",
        (length,),
        (found,),
        lambda _, unique: tf.reshape(unique.idx, [-1, length]),
    )
    filled = Term("user", (length,), (keys,), lambda _, x: x._keras_mask)

    def tabulate(extent: Extent | None, k: Any, q: Any) -> Any:
        # With an extent all is one small graph; blocks are of many keys.
        return layer.table(tf.squeeze(q, 1), k, 32 if extent is None else 4)

    table = Term("block", (), (each, query), tabulate)

    def weigh(_: Extent, of_items: Any, places: Any, *mask: Any) -> Any:
        found = tf.gather(of_items, places)  # [users, length, items]
        if mask:
            found = tf.where(mask[0][:, :, tf.newaxis], found, found.dtype.min)
            found = tf.nn.softmax(found, axis=1)
        return found

    masked = (filled,) if layer.weight_normalization else ()
    weights = Term("pair", (), (table, place, *masked), weigh)

    def pool(shape: tuple[int, ...]) -> Any:
        def compute(_: Extent, weights: Any, values: Any) -> Any:
            pooled = tf.matmul(weights, values, transpose_a=True)
            return tf.reshape(pooled, [-1, *shape])

        return compute

    def project(kernel: Weights) -> Sequence[Term]:
        units = int(kernel()[0].shape[-1])

        def values(_: None, x: Any) -> Any:
            weights = kernel()[0]
            return tf.tensordot(tf.cast(x, weights.dtype), weights, 1)

        projected = Term("user", (length, units), (keys,), values)
        return [Term("pair", (units,), (weights, projected), pool((units,)))]

    return Term("pair", (1, dim), (weights, keys), pool((1, dim)), project)


@split_rule(deepctr_layers.InteractingLayer)
def _interacting(call: SplitCall) -> Term | None:
    (x,) = call.values
    if not isinstance(x, Joined) or x.axis != 1:
        return None
    if {part.side for part in x.parts} != {"user", "item"}:
        return None
    return replace(
        call.build(), project=lambda head: [_interacting_head(call.layer, x, head)]
    )


def _interacting_head(layer: Any, x: Joined, head: Weights) -> Term:
    """The product of the attended fields with a kernel."""
    heads, size = layer.head_num, layer.att_embedding_size
    units = int(head()[0].shape[-1])
    sides = [part.side for part in x.parts for _ in range(part.shape[0] or 0)]

    def projected(side: Side) -> Term:
        """Queries, keys, values and residuals, [4, rows, heads, fields, size]."""

        def compute(_: None, *parts: Any) -> Any:
            fields = tf.concat(parts, axis=1)
            kernels = [layer.W_Query, layer.W_key, layer.W_Value]
            kernels.append(layer.W_Res if layer.use_res else 0.0 * layer.W_Value)
            all_four = tf.tensordot(fields, tf.stack(kernels), [[2], [1]])
            shape = [-1, fields.shape[1], 4, heads, size]
            return tf.transpose(tf.reshape(all_four, shape), [0, 2, 3, 1, 4])

        parts = tuple(part for part in x.parts if part.side == side)
        return Term(side, (4, heads, sides.count(side), size), parts, compute)

    def scores(queries: Any, keys: Any) -> Any:
        products = tf.matmul(queries, keys, transpose_b=True)
        return products / size**0.5 if layer.scaling else products

    def compute(_: Extent, users: Any, items: Any) -> Any:
        q_u, k_u, v_u, r_u = tf.unstack(users, axis=1)  # [users, heads, fields, size]
        q_i, k_i, v_i, r_i = tf.unstack(items, axis=1)

        def across(of_items: Any, of_users: Any) -> Any:
            """Scores of each with each, [users, heads, fields, items, fields]."""
            rows, columns = (
                tf.reshape(tf.transpose(one, [1, 0, 2, 3]), [heads, -1, size])
                for one in (of_items, of_users)
            )
            # Items first, as in `products`.
            found = scores(rows, columns)
            shape = [tf.shape(of_items)[0], of_items.shape[2]]
            shape += [tf.shape(of_users)[0], of_users.shape[2]]
            return tf.reshape(found, [heads, *shape])

        def logits(side: Side, of_users: Any, of_items: Any, residual: Any) -> Any:
            """One side's fields, from their scores of the user's and the item's."""
            parts = tf.broadcast_dynamic_shape(
                tf.shape(of_users)[:-1], tf.shape(of_items)[:-1]
            )
            both = [
                tf.broadcast_to(part, tf.concat([parts, [part.shape[-1]]], 0))
                for part in (of_users, of_items)
            ]
            share = tf.nn.softmax(tf.concat(both, axis=-1))
            count = v_u.shape[2]
            out = tf.matmul(share[..., :count], v_u[:, :, tf.newaxis])
            by_item = tf.transpose(v_i, [2, 1, 0, 3])  # [fields, heads, items, size]
            for k in range(v_i.shape[2]):
                out += share[..., count + k, tf.newaxis] * by_item[k][:, tf.newaxis]
            out = tf.nn.relu(out + residual)
            w = tf.reshape(head()[0], [len(sides), heads, size, units])
            w = tf.gather(w, [k for k, one in enumerate(sides) if one == side])
            of_heads = tf.matmul(out, tf.transpose(w, [1, 0, 2, 3]))
            return tf.reduce_sum(of_heads, axis=[1, 2])

        of_user = logits(
            "user",
            scores(q_u, k_u)[:, :, :, tf.newaxis],
            tf.transpose(across(k_i, q_u), [3, 0, 4, 1, 2]),
            r_u[:, :, :, tf.newaxis],
        )
        of_item = logits(
            "item",
            tf.transpose(across(q_i, k_u), [3, 0, 2, 1, 4]),
            tf.transpose(scores(q_i, k_i), [1, 2, 0, 3]),
            tf.transpose(r_i, [1, 2, 0, 3]),
        )
        return tf.reshape(of_user + of_item, [-1, units])

    sides_projected = (projected("user"), projected("item"))
    return Term("pair", (units,), sides_projected, compute)
