import shutil

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.raw import RawData

# Pairs that look alike, and characters that spoil text files.
_IDS = sorted(
    [
        "\u00e9",
        "e\u0301",
        "日本",
        "🎲",
        "a",
        " a",
        "a ",
        "\ufeffa",
        "l\u2028m",
        "x\ty\nz",
        '"q",',
        "007",
        "NA",
    ]
)


@pytest.fixture
def stored(small_store, tmp_path):
    """A copy of the shared store's folder, to damage."""
    return shutil.copytree(small_store.path, tmp_path / "store")


@pytest.fixture(scope="session")
def odd_raw():
    """Users and items whose ids and texts are anything but plain words."""
    rows = [
        (user, _IDS[(place * 3 + step) % len(_IDS)], step)
        for place, user in enumerate(_IDS)
        for step in range(5)
    ]
    items = pd.DataFrame({"item": _IDS, "text": [f"naïve {i} 🎲" for i in _IDS]})
    items["attributes"] = [[f"маrка={i}", "\u00e9", "e\u0301"] for i in _IDS]
    interactions = pd.DataFrame(rows, columns=["user", "item", "order"])
    return RawData(interactions, items, {"kind": "tést"}, {}, {})


@pytest.fixture(scope="session")
def odd_store(odd_raw, tmp_path_factory):
    return FeatureStore.create(tmp_path_factory.mktemp("odd") / "стор 日本", odd_raw)


@pytest.fixture(scope="session")
def score_rows(small_store):
    """A score for every pair of the shared store, in no order."""
    users, items = np.mgrid[1 : small_store.n_users + 1, 1 : small_store.n_items + 1]
    users, items = users.ravel(), items.ravel()
    rows = pd.DataFrame({"user": users, "item": items})
    rows["score"] = (users * 41 + items * 17) % 101 / 100
    rows["origin"] = np.where(items % 3 == 0, "popular", "tail")
    rows["position"] = users % 4
    rows["label"] = items % 3 - 1
    return rows.sample(frac=1, random_state=0)
