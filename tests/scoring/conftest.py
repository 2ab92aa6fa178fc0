from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.store.clean import clean
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors

USERS, ITEMS = 40, 60


@pytest.fixture(scope="session")
def histories() -> list[list[int]]:
    """3 to 13 different items of each of 40 users, in order."""
    rng = np.random.default_rng(5)
    lengths = rng.permutation(np.resize(np.arange(3, 14), USERS))
    # The squared draw makes some items popular.
    weights = rng.random(ITEMS) ** 2
    return [
        (1 + rng.choice(ITEMS, n, replace=False, p=weights / weights.sum())).tolist()
        for n in lengths
    ]


@pytest.fixture(scope="session")
def shop(
    histories: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> LeaveOneOut:
    """The split of a store on disk; every tenth item has no text."""
    rng = np.random.default_rng(6)
    events = [
        (f"u{user:02d}", f"i{item:02d}", position)
        for user, history in enumerate(histories, start=1)
        for position, item in enumerate(history)
    ]
    items = pd.DataFrame({"item": [f"i{n:02d}" for n in range(1, ITEMS + 1)]})
    words = ["red", "blue", "old", "new", "big", "small", "round", "flat", "soft"]
    items["text"] = [
        " ".join(rng.choice(words, 4)) if n % 10 else "" for n in range(1, ITEMS + 1)
    ]
    raw = clean(
        pd.DataFrame(events, columns=["user", "item", "order"]),
        items,
        min_events=3,
        keep_unseen_items=True,
        source={"kind": "test"},
    )
    path = tmp_path_factory.mktemp("scoring") / "store"
    return LeaveOneOut(FeatureStore.create(path, raw))


@pytest.fixture(scope="session")
def vectors(shop: LeaveOneOut) -> TextVectors:
    """Random unit vectors in place of a table on disk; no text, no vector."""
    drawn = np.random.default_rng(7).normal(size=(ITEMS + 1, 8))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn[shop.store.item_texts == ""] = 0
    table: Any = SimpleNamespace(vectors=drawn.astype(np.float32), encoder="random")
    return table
