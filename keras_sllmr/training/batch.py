"""A training batch: blocks of several items a user, and their rows for the backbone.

A batch is a dict of blocks, each of users with C items:

- `labelled`: a positive and its sampled negatives a user;
- `guidance`: LLM-scored candidates, without labels;
- `probes`: a hidden training positive among sampled negatives, scored by the LLM.

A block is a dict of `user` features `[users, ...]` and `item` features
`[users, C, ...]`; those that the LLM scored have `score` and `valid` `[users, C]`,
`label` (1, 0 or −1) and `signals`, a dict of float `[users, C]`, as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.losses.replicas import replicas

LABELLED, GUIDANCE, PROBES = "labelled", "guidance", "probes"


def is_block(features: Any) -> bool:
    """Whether features are a block rather than plain rows."""
    return set(features) >= {"user", "item"} and isinstance(features["item"], Mapping)


def block_shape(block: Mapping[str, Any]) -> tuple[Any, Any]:
    """Users and items a user, as ints where they are known."""
    item = next(iter(block["item"].values()))
    dynamic = tf.shape(item)
    return tuple(item.shape[k] or dynamic[k] for k in (0, 1))


def join_blocks(
    blocks: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, Any], dict[str, Any], Any]:
    """Several blocks of the same features as the rows of one pass of the backbone.

    Returns:
        User features `[users, ...]`, item features `[rows, ...]` and the user of each
        row, int `[rows]`.

    Raises:
        ConfigError: when a block lacks a feature of the first.
    """
    for side in ("user", "item"):
        for block in blocks:
            lacking = sorted(set(blocks[0][side]) - set(block[side]))
            if lacking:
                raise ConfigError(
                    f"The blocks of a batch must have the same {side} features. "
                    f"Received: a block without {', '.join(lacking)}"
                )
    rows, first = [], 0
    for users, items in map(block_shape, blocks):
        rows.append(tf.repeat(first + tf.range(users), items))
        first += users
    user = {
        name: tf.concat([block["user"][name] for block in blocks], 0)
        for name in blocks[0]["user"]
    }
    item = {
        name: tf.concat([_flat(block["item"][name]) for block in blocks], 0)
        for name in blocks[0]["item"]
    }
    return user, item, tf.concat(rows, 0)


def as_block(features: Mapping[str, Any], item_inputs: Sequence[str]) -> dict[str, Any]:
    """A block as it is; plain rows as a block of one item a user."""
    if is_block(features):
        return dict(features)
    sides: dict[str, Any] = {"user": {}, "item": {}}
    for name, value in features.items():
        if name in item_inputs:
            sides["item"][name] = value[:, tf.newaxis]
        else:
            sides["user"][name] = value
    return sides


def block_rows(block: Mapping[str, Any]) -> dict[str, Any]:
    """A block's features as rows of their own, `[users * C, ...]`."""
    user, item, rows = join_blocks([block])
    return {name: tf.gather(value, rows) for name, value in user.items()} | item


def _flat(value: Any) -> Any:
    """Its two leading axes become one."""
    return tf.reshape(value, [-1, *value.shape[2:]])


def one_batch(x: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """A batch in groups, every leaf `[groups, ...]`, as one; others as they are.

    A strategy splits each leaf of a batch by its own first axis. That is only right
    where all have the same, so blocks of different numbers of users come in groups, one
    or more a replica.

    Args:
        x: features: blocks, or a dict of plain rows, which are never in groups.
        y: labels `[users, C]` of the labelled block, or `[groups, users, C]`.
        sample_weight: as `y`, or none.

    Raises:
        ConfigError: when leaves of a batch in groups differ in their first axis, or a
            replica among several gets blocks that are not in groups.
    """
    if LABELLED not in x:
        return x, y, sample_weight
    if y.shape.rank != 3:
        if replicas() > 1:
            raise ConfigError(
                "Blocks that a strategy deals out to several replicas must be in "
                "groups, every leaf of a batch [groups, ...] alike: else each would be "
                "split by its own first axis, and users would lose their rows. "
                f"Received: labels of shape {y.shape.as_list()}. Use the batches of "
                "`replica_batches`."
            )
        return x, y, sample_weight
    leaves = tf.nest.flatten((x, y, sample_weight))
    sizes = {leaf.shape[0] for leaf in leaves if leaf is not None}
    if len(sizes) > 1:
        raise ConfigError(
            "All leaves of a batch in groups must have the same first axis. "
            f"Received: first axes of {', '.join(map(str, sorted(sizes, key=str)))}"
        )
    folded: tuple[Any, Any, Any] = tf.nest.map_structure(
        lambda leaf: None if leaf is None else _flat(leaf), (x, y, sample_weight)
    )
    return folded
