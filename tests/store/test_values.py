import datetime
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.store.values import categories_of, category_of, number_of


@pytest.mark.parametrize(
    ("cell", "category"),
    [
        ("a", "a"),
        (" a ", "a"),
        ("", ""),
        ("  ", ""),
        ("NA", "NA"),
        (None, ""),
        (math.nan, ""),
        (pd.NA, ""),
        (pd.NaT, ""),
        (3, "3"),
        (3.0, "3"),
        (np.float32(3), "3"),
        (2.5, "2.5"),
        (-0.0, "0"),
        (True, "True"),
        (math.inf, "inf"),
        (2**70, str(2**70)),
        (b"caf\xc3\xa9", "café"),
        (datetime.date(2020, 1, 2), "2020-01-02"),
        ("\ud800", "?"),
        (["a"], None),
        ((), None),
        ({"a": 1}, None),
        (np.array(["a"]), None),
    ],
)
def test_category(cell, category):
    assert category_of(cell) == category


@pytest.mark.parametrize(
    ("cell", "categories"),
    [
        (["a", " a", "b", None, "", math.nan, 3.0], ("a", "b", "3")),
        (("b", "a"), ("b", "a")),
        (np.array([1, 2]), ("1", "2")),
        (np.array(["x"], object), ("x",)),
        ([], ()),
        ("a", ("a",)),
        (4, ("4",)),
        (None, ()),
        ("", ()),
        ([["a"]], None),
        ([{"a": 1}], None),
        ({"a": 1}, None),
        ({"a"}, None),
    ],
)
def test_categories(cell, categories):
    assert categories_of(cell) == categories


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        (1, 1.0),
        ("1.5", 1.5),
        (" -2e3 ", -2000.0),
        (Decimal("0.5"), 0.5),
        (np.int64(7), 7.0),
        (True, 1.0),
        (3.4e38, 3.4e38),
        ("old", None),
        ("1,5", None),
        ("NA", None),
        (math.inf, None),
        ("-inf", None),
        (1e39, None),
        (10**400, None),
        ([1], None),
        (np.array([1.0]), None),
        ({}, None),
        (1j, None),
        (pd.Timestamp("2020-01-01"), None),
        (datetime.date(2020, 1, 1), None),
    ],
)
def test_number(cell, number):
    assert number_of(cell) == number


@pytest.mark.parametrize(
    "cell", [None, "", "  ", "nan", b"", math.nan, np.float32("nan"), pd.NA, pd.NaT]
)
def test_missing_number(cell):
    assert math.isnan(number_of(cell))
