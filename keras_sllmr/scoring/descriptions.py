"""Users and rows in words, made of the items' texts without a language model.

Texts name the latest items first: what an encoder cuts off is then the oldest.
"""

from collections.abc import Iterable

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.texts import clean_text
from keras_sllmr.store.history import history_before
from keras_sllmr.store.split import LeaveOneOut


def first_events(split: LeaveOneOut, share: float = 1.0) -> np.ndarray:
    """How many of their training events users are told of: the first ones, rounded up.

    Args:
        split: the store's split.
        share: float in (0, 1]. Of the training events. Defaults to all.

    Returns:
        int64 `[n_users + 1]`.

    Raises:
        ConfigError: when the share is out of its range.
    """
    if not 0 < share <= 1:
        raise ConfigError(
            f"`share` of the training events must be in (0, 1]. Received: share={share}"
        )
    return np.ceil(share * split.train_lengths).astype(np.int64)


def user_texts(
    split: LeaveOneOut, length: int = 20, *, ends: np.ndarray | None = None
) -> list[str]:
    """What each user chose in training, latest first.

    Args:
        split: the store's split; validation and test events are left out.
        length: int. Last of the events named. Defaults to `20`.
        ends: int `[n_users + 1]`. Only events before this position are named. Defaults
            to all training events.

    Returns:
        `n_users + 1` texts; "" for row 0 and for users of whom there is nothing to
        tell.

    Example:
        >>> user_texts(split)[1]                               # doctest: +SKIP
        'The user chose, latest first: a red pen; a blue pen.'
    """
    users = np.arange(split.store.n_users + 1)
    ends = split.train_lengths if ends is None else ends
    shown = history_before(split.store.events, users, ends, length=length)
    names = _names(split)
    told = (_listed(names, row) for row in shown)
    return [
        f"The user chose, latest first: {items}." if items else "" for items in told
    ]


def chain_texts(
    split: LeaveOneOut,
    users: np.ndarray,
    positions: np.ndarray,
    items: np.ndarray,
    labels: np.ndarray,
    *,
    length: int = 10,
) -> list[str]:
    """Labelled rows in words: the item, whether it was chosen, and what came before.

    Args:
        split: the store's split.
        users: int `[rows]`. User indices; 0 for no row.
        positions: int `[rows]`. Only events before them are named as history.
        items: int `[rows]`. The items in question.
        labels: int `[rows]`. 1 when it was chosen, else 0.
        length: int. Last events named. Defaults to `10`.

    Returns:
        `rows` texts; "" for item 0.

    Example:
        >>> chain_texts(split, users, positions, items, labels)[1]   # doctest: +SKIP
        'A green pen: chosen. Before, latest first: a red pen; a blue pen.'
    """
    shown = history_before(split.store.events, users, positions, length=length)
    names = _names(split)
    texts = []
    for item, label, row in zip(items, labels, shown, strict=True):
        verdict = "chosen" if label else "not chosen"
        before = _listed(names, row) or "nothing known"
        name = names[item] or "an item without a text"
        text = f"{name}: {verdict}. Before, latest first: {before}."
        texts.append(text if item else "")
    return texts


def _names(split: LeaveOneOut) -> list[str]:
    return [clean_text(str(text)) for text in split.store.item_texts]


def _listed(names: list[str], items: Iterable[int]) -> str:
    """Names of the items that have one, the last one first."""
    return "; ".join(names[item] for item in reversed(list(items)) if names[item])
