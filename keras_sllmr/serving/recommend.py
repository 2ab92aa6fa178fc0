"""Ranks candidates with an export, as its users call it."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError
from keras_sllmr.serving.export import load_export
from keras_sllmr.serving.signatures import DEFAULT


def recommend(
    path: str | os.PathLike[str],
    user_history: Sequence[str],
    candidates: Sequence[str],
    k: int = 10,
    *,
    user_id: str = "",
    columns: Mapping[str, Any] | None = None,
) -> list[tuple[str, float]]:
    """The best candidates of a user, by one call of the exported model.

    Args:
        path: an exported version's folder.
        user_history: ids of the user's items, oldest first; may be empty.
        candidates: ids of the items to rank. One that the model does not know is
            scored by the user's side alone.
        k: int ≥ 1. How many to return at most. Defaults to `10`.
        user_id: str. Read only by models with a user field. Defaults to unknown.
        columns: the user's and the context's cells by column: a str, a list of them of
            a multi-valued column, or a number. Columns left out are unknown.

    Returns:
        (item id, score in [0, 1]) by falling logit; equal ones by item id.

    Raises:
        ConfigError: when there is no candidate, `k` is below 1, or the model reads no
            column of some name or no cell of that type in it.
        StoreError: when there is no whole export at `path`.

    Example:
        >>> recommend("saved_models/beauty/1", ["B01"], ["B02", "B03"])  # doctest: +SKIP
        [('B03', 0.71), ('B02', 0.12)]
    """
    if k < 1:
        raise ConfigError(f"`k` must be at least 1. Received: k={k}")
    if not candidates:
        raise ConfigError("`candidates` must name at least one item. Received: none")
    model = load_export(path)
    serve = model.signatures[DEFAULT]
    rows = len(candidates)
    history = tf.constant(list(user_history), tf.string)
    inputs = {
        "item_id": tf.constant(list(candidates), tf.string),
        "history": tf.tile(history[None, :], [rows, 1]),
    }
    specs = dict(serve.structured_input_signature[1])
    if "user_id" in specs:
        inputs["user_id"] = tf.fill([rows], user_id)
    of_columns = {name: spec for name, spec in specs.items() if name not in inputs}
    inputs |= _cells(columns or {}, of_columns, rows)
    outputs = serve(**inputs)
    # By logit, since scores near 1 round to the same float.
    ranked = sorted(
        zip(
            outputs["logit"].numpy().tolist(),
            candidates,
            outputs["score"].numpy().tolist(),
            strict=True,
        ),
        key=lambda row: (-row[0], row[1]),
    )
    return [(item, score) for _, item, score in ranked[:k]]


def _cells(
    columns: Mapping[str, Any], specs: Mapping[str, Any], rows: int
) -> dict[str, Any]:
    """Each column's cell, repeated for every candidate."""
    unknown = sorted(set(columns) - set(specs))
    if unknown:
        raise ConfigError(
            "`columns` must be among those of users and context that the model reads, "
            f"{', '.join(sorted(specs)) or 'but it reads none'}. Received: "
            f"{', '.join(unknown)}"
        )
    inputs = {}
    for name, spec in specs.items():
        many = spec.shape.rank == 2
        number = spec.dtype == tf.float32
        cell = columns.get(name, float("nan") if number else [] if many else "")
        try:
            tensor = tf.constant(cell, spec.dtype)
        except (TypeError, ValueError):
            tensor = None
        if tensor is None or tensor.shape.rank != int(many):
            kind = "a list of str" if many else "a number" if number else "a str"
            raise ConfigError(
                f"The cell of the column {name!r} must be {kind}. Received: {cell!r}"
            )
        inputs[name] = tf.repeat(tensor[tf.newaxis], rows, axis=0)
    return inputs
