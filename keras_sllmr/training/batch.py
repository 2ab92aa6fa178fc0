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
    """Several dicts of the same features as one batch of rows.

    One pass of the backbone over all rows costs less than one a part.
    """
    if len(parts) == 1:
        return parts[0]
    return {name: tf.concat([part[name] for part in parts], 0) for name in parts[0]}


def block_rows(block: dict[str, Any]) -> dict[str, Any]:
    """A block's features as rows: its two leading axes become one."""
    return {
        name: tf.reshape(value, [-1, *value.shape[2:]])
        for name, value in block["features"].items()
    }
