import dataclasses
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.store.columns import column_specs
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.importers.tables import read_tables
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.stats import stats

KEYS = ["users", "items", "interactions", "train_rows", "cold_rows", "tail_items"]


@pytest.fixture
def by_hand(split_of):
    # Training positions: none; 1, 2; 1; 1 to 5.
    histories = [[1, 2, 3], [4, 5, 6, 7, 8], [2, 1, 4, 3], [9, 8, 7, 6, 5, 4, 3, 2]]
    return split_of(histories, 11)


def test_by_hand(by_hand):
    counted = stats(by_hand)
    assert list(counted) == KEYS
    assert list(counted.values()) == [4, 11, 20, 16, 12, 2]
    assert {type(value) for value in counted.values()} == {int}


@pytest.mark.parametrize(
    ("cold_max", "rows"), [(0, 0), (1, 6), (2, 10), (4, 14), (9, 16)]
)
def test_cold_rows(by_hand, cold_max, rows):
    assert stats(by_hand, cold_max=cold_max)["cold_rows"] == rows


@pytest.mark.parametrize(("share", "items"), [(0.05, 0), (0.1, 1), (0.5, 5), (0.9, 9)])
def test_tail_items(by_hand, share, items):
    assert stats(by_hand, tail_share=share)["tail_items"] == items


def test_small_store(split):
    counted = stats(split)
    assert counted == {
        "users": 30,
        "items": 40,
        "interactions": 255,
        "train_rows": 2 * (255 - 3 * 30),
        "cold_rows": 2 * sum(min(3, length - 3) for length in split.lengths[1:]),
        "tail_items": 8,
    }


def test_columns(raw_of, tmp_path):
    raw = raw_of([[1, 2, 3, 4], [3, 1, 2, 4]], 4)
    raw = dataclasses.replace(
        raw,
        interactions=raw.interactions.assign(
            hour=np.array([1, 3, 9, 9, 2, np.nan, 9, 9], np.float32)
        ),
        items=raw.items.assign(tags=[("a",), (), ("b", "a"), ("b",)]),
        users=pd.DataFrame({"user": ["u2"], "plan": ["free"]}),
        columns=column_specs(
            {"plan": "categorical"}, {"tags": "multi"}, {"hour": "numeric"}
        ),
    )
    counted = stats(LeaveOneOut(FeatureStore.create(tmp_path / "store", raw)))
    assert list(counted) == [*KEYS, "columns"]
    std = counted["columns"]["hour"].pop("std")
    assert std == pytest.approx((2 / 3) ** 0.5)
    assert counted["columns"] == {
        "plan": {
            "entity": "user",
            "kind": "categorical",
            "unknown": 1,
            "categories": 1,
        },
        "tags": {"entity": "item", "kind": "multi", "unknown": 1, "categories": 2},
        "hour": {"entity": "context", "kind": "numeric", "unknown": 1, "mean": 2.0},
    }


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("beauty", [22363, 12101, 198502, 262826, 119854, 2420]),
        ("sports", [35598, 18357, 296337, 379086, 190756, 3671]),
    ],
)
def test_figures_of_the_paper(tmp_path, name, values):
    data = os.environ.get("SLLMR_DATA")
    if not data:
        pytest.skip("SLLMR_DATA names no folder with amazon2014/beauty and /sports")
    raw = read_tables(Path(data) / "amazon2014" / name)
    store = FeatureStore.create(tmp_path / name, raw)
    assert stats(LeaveOneOut(store)) == dict(zip(KEYS, values, strict=True))
