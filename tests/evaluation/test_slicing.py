import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.evaluation.slicing import SliceSettings, slice_masks
from keras_sllmr.settings import settings_of


def masks(split, **setting):
    return slice_masks(SliceSettings(**setting), split, split.test)


def test_history_length(split):
    found = masks(split, by="history_length", edges=(4, 8))
    lengths = split.train_lengths[split.test.users]
    assert list(found) == [
        "history_length < 4",
        "4 <= history_length < 8",
        "history_length >= 8",
    ]
    assert np.array_equal(found["history_length < 4"], lengths < 4)
    assert np.array_equal(found["history_length >= 8"], lengths >= 8)
    assert np.sum(list(found.values()), axis=0).tolist() == [1] * len(lengths)


def test_popularity_quantiles(split):
    found = masks(split, by="popularity", quantiles=3)
    counts = split.train_counts[split.test.items]
    assert np.sum(list(found.values()), axis=0).tolist() == [1] * len(counts)
    assert all(mask.any() for mask in found.values())


def test_quantiles_of_one_value(split_of):
    split = split_of([[1, 2, 3, 4]] * 3, 5)
    found = masks(split, by="history_length", quantiles=4)
    assert list(found) == ["history_length known"]


def test_columns(column_split):
    store, targets = column_split.store, column_split.test
    gender = masks(column_split, by="gender")
    assert list(gender) == ["gender: F", "gender: M"]
    cells = np.array([store.columns["gender"].cell(user) for user in targets.users])
    assert np.array_equal(gender["gender: F"], cells == "F")

    colours = masks(column_split, by="colours", values=("red", "blue"))
    cells = [store.columns["colours"].cell(item) for item in targets.items]
    assert colours["colours: blue"].tolist() == ["blue" in cell for cell in cells]
    assert (colours["colours: blue"] & colours["colours: red"]).any()

    price = masks(column_split, by="price", edges=(10,))
    values = store.columns["price"].values[targets.items]
    assert np.array_equal(price["price < 10"], values < 10)

    hour = masks(column_split, by="hour", quantiles=2)
    events = store.events.offsets[targets.users] + targets.positions
    known = ~np.isnan(store.columns["hour"].values[events])
    # An unknown hour is in no slice.
    assert not known.all()
    assert np.array_equal(np.any(list(hour.values()), axis=0), known)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"by": "history_length"}, "one of the first two"),
        ({"by": "popularity", "values": ["a"]}, "with values"),
        ({"by": "age", "edges": [1], "quantiles": 2}, "edges and quantiles"),
        ({"by": "age", "edges": [2, 1]}, "must rise"),
        ({"by": "age", "edges": []}, "at least 1 item"),
        ({"by": "age", "quantiles": 1}, "greater than or equal to 2"),
    ],
)
def test_bad_settings(setting, message):
    with pytest.raises(ConfigError, match=message):
        settings_of(SliceSettings, setting, "slices")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"by": "size", "edges": (1,)}, "history_length, popularity, .*'size'"),
        ({"by": "age"}, "numeric column 'age' need edges or quantiles"),
        ({"by": "age", "values": ("1",)}, "need edges or quantiles"),
        ({"by": "brand", "values": ("a", "z")}, "such as a, b, c.*unknown z"),
    ],
)
def test_settings_that_do_not_fit_the_store(column_split, setting, message):
    with pytest.raises(ConfigError, match=message):
        masks(column_split, **setting)


def test_numbers_do_not_cut_categories(column_split):
    with pytest.raises(ConfigError, match="categorical column 'brand' need values"):
        masks(column_split, by="brand", edges=(1,))
