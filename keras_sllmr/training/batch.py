"""The two-stream batch: labelled rows, and blocks of a user's LLM-scored items.

A guided batch is a dict with

- `labelled`: features `[rows, ...]`;
- `guidance`: a block of LLM-scored candidates;
- `probes`: a block of hidden training positives among sampled negatives.

A block is a dict of `features` `[users, C, ...]`, `score` and `valid` `[users, C]`,
`label` (1, 0 or −1) and `signals`, a dict of float `[users, C]`.
"""

from collections.abc import Sequence
from typing import Any

from keras_sllmr.compat import tf

LABELLED, GUIDANCE, PROBES = "labelled", "guidance", "probes"


def join_rows(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Features of labelled rows and of blocks as one batch of rows.

    One pass of the backbone over all rows costs less than one a part.

    Args:
        parts: dicts of the same features; a part whose `item` is `[users, C]` is a
            block and its two leading axes become one.
    """
    flat = [_flattened(part) for part in parts]
    if len(flat) == 1:
        return flat[0]
    return {name: tf.concat([part[name] for part in flat], 0) for name in flat[0]}


def _flattened(features: dict[str, Any]) -> dict[str, Any]:
    if features["item"].shape.rank == 1:
        return features
    return {
        name: tf.reshape(value, [-1, *value.shape[2:]])
        for name, value in features.items()
    }
