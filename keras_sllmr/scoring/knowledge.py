"""Texts about users and items, encoded once and stored as knowledge."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_sllmr.scoring import descriptions
from keras_sllmr.scoring.encoders.base import TextEncoder
from keras_sllmr.scoring.progress import Progress
from keras_sllmr.store.knowledge import Knowledge
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.store_table import require_texts


def make_knowledge(
    split: LeaveOneOut,
    encoder: TextEncoder,
    path: str | os.PathLike[str],
    *,
    user_texts: Sequence[str] | None = None,
    item_texts: Sequence[str] | None = None,
    share: float = 0.5,
    history: int = 20,
    source: str = "description",
    teacher: dict[str, Any] | None = None,
    cost: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> Knowledge:
    """Encodes a text a user and a text an item and writes both.

    Args:
        split: the store's split.
        encoder: a frozen sentence encoder; an empty text gets a zero vector.
        path: the table's folder.
        user_texts: `n_users + 1` texts, of which the first is no user's. Defaults to
            what each chose in training, see `descriptions.user_texts`.
        item_texts: `n_items + 1` texts. Defaults to the store's.
        share: float in (0, 1]. Of each user's training events, the first, that the
            texts tell of, see `descriptions.first_events`. A training row up to there
            would find its own target in the text, so that a model learns to look for
            it; such rows are trained without the user's knowledge. `1` is as published,
            where all are such rows, and none is. Defaults to `0.5`.
        history: int. Last of those events that the texts name. Defaults to `20`.
        source: str. Who wrote the texts, `"llm"` or `"description"`. Defaults to
            `"description"`.
        teacher: name, model and prompt hash of who wrote them. Defaults to none.
        cost: requests, tokens, price of the texts. Defaults to none.
        progress: called with (texts done, all texts).

    Returns:
        The table, opened.

    Raises:
        ConfigError: on an unknown source.
        DataError: on another number of texts.
    """
    store = split.store
    ends = descriptions.first_events(split, share)
    if user_texts is None:
        user_texts = descriptions.user_texts(split, history, ends=ends)
    if item_texts is None:
        item_texts = store.item_texts.tolist()
    of_users = require_texts(user_texts, store.n_users + 1, of="a user")
    of_items = require_texts(item_texts, store.n_items + 1, of="an item")
    vectors = encoder.encode([*of_users, *of_items], progress=progress)
    users, items = np.split(vectors, [len(of_users)])
    return Knowledge.create(
        path,
        store,
        users=users,
        items=items,
        user_texts=of_users,
        item_texts=of_items,
        # As published, no training row is taken for one that knows too much.
        positions=ends if share < 1 else np.zeros_like(ends),
        encoder=encoder.name,
        source=source,
        teacher=teacher,
        cost=cost,
    )
