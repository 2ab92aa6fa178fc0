"""Ranks candidates with an export, as its users call it."""

import os
from collections.abc import Sequence

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
) -> list[tuple[str, float]]:
    """The best candidates of a user, by one call of the exported model.

    Args:
        path: an exported version's folder.
        user_history: ids of the user's items, oldest first; may be empty.
        candidates: ids of the items to rank. One that the model does not know is
            scored by the user's side alone.
        k: int ≥ 1. How many to return at most. Defaults to `10`.
        user_id: str. Read only by models with a user field. Defaults to unknown.

    Returns:
        (item id, score in [0, 1]) by falling logit; equal ones by item id.

    Raises:
        ConfigError: when there is no candidate, or `k` is below 1.
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
    if "user_id" in serve.structured_input_signature[1]:
        inputs["user_id"] = tf.fill([rows], user_id)
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
