import numpy as np
import pytest

from keras_sllmr.errors import ConfigError
from keras_sllmr.store.columns import (
    KINDS,
    OUTERMOST,
    RESERVED,
    Column,
    ColumnSpec,
    category_counts,
    check_unique,
    column_specs,
    encoded,
    kinds_by_entity,
    moments,
    vocabulary_of,
)
from keras_sllmr.store.ragged import Ragged
from keras_sllmr.store.schema import VIEWS


@pytest.mark.parametrize(
    "name", ["", "1st", "unit price", "a-b", "é", "_a", "a\n", 3, "class", "self"]
)
def test_names_are_plain(name):
    with pytest.raises(ConfigError, match="column's name must be .*Rename the column"):
        ColumnSpec(name, "user", "numeric")


def test_the_stores_own_names_are_taken():
    features = {name for view in VIEWS.values() for name in view}
    inputs = {"user", "item", "history", "item_attributes", "history_attributes"}
    assert features | inputs | {"order", "category", "logit"} <= RESERVED
    with pytest.raises(ConfigError, match="Received: 'history'"):
        ColumnSpec("history", "context", "multi")


@pytest.mark.parametrize(
    ("entity", "kind", "count", "said"),
    [
        ("shop", "numeric", 1, "entity of the column 'a' must be one of user, item"),
        ("user", "number", 1, "kind of the column 'a' must be one of categorical,"),
        ("user", None, 1, "Received: None"),
        ("user", "numeric", 0, "`min_count` must be at least 1. Received: min_count=0"),
    ],
)
def test_wrong_specs(entity, kind, count, said):
    with pytest.raises(ConfigError, match=said):
        ColumnSpec("a", entity, kind, count)


def test_specs_of_options():
    specs = column_specs({"a": "numeric"}, None, {"c": "multi", "b": "numeric"})
    assert [(spec.name, spec.entity) for spec in specs] == [
        ("a", "user"),
        ("c", "context"),
        ("b", "context"),
    ]
    assert kinds_by_entity(specs) == {
        "user": {"a": "numeric"},
        "context": {"c": "multi", "b": "numeric"},
    }
    assert column_specs() == () and column_specs({}, {}, {}) == ()
    with pytest.raises(ConfigError, match=r"map each name to its kind.*\['a'\]"):
        column_specs(item=["a"])


def test_names_are_unique_among_entities():
    with pytest.raises(ConfigError, match="Received: city more than once"):
        column_specs({"city": "categorical"}, {"city": "categorical"})
    spec = ColumnSpec("a", "user", "numeric")
    with pytest.raises(ConfigError, match="a more than once"):
        check_unique([spec, spec])


@pytest.mark.parametrize(("count", "known"), [(1, ["a", "b", "c"]), (2, ["b"])])
def test_vocabulary_of_categories(count, known):
    spec = ColumnSpec("x", "user", "categorical", count)
    cells = ["b", "", "a", "b", "c", ""]
    assert vocabulary_of(spec, category_counts(spec, cells)) == known
    counted = np.array([True, True, True, True, False, True])
    assert vocabulary_of(spec, category_counts(spec, cells, counted)) == [
        name for name in known if name != "c"
    ]


def test_vocabulary_of_lists():
    spec = ColumnSpec("x", "user", "multi", 2)
    counts = category_counts(spec, [("a", "b"), (), ("b",), ("a", "c")])
    assert vocabulary_of(spec, counts) == ["a", "b"]


def test_encoded():
    known = ["a", "b"]
    one, many, number = (ColumnSpec("x", "user", kind) for kind in KINDS)
    assert encoded(one, ["b", "", "z", "a"], known) == [2, 0, 0, 1]
    assert encoded(many, [("b", "z", "a"), (), ("z",)], known) == [[2, 1], [], []]
    assert encoded(number, [np.float32(1.5), 2], []) == [1.5, 2.0]


def test_moments_leave_out_what_is_missing():
    values = np.array([1, np.nan, 3, 8], np.float32)
    assert moments(values) == (4.0, pytest.approx(np.sqrt(26 / 3)))
    assert moments(np.array([5, 5], np.float32)) == (5.0, 1.0)
    assert moments(np.array([np.nan], np.float32)) == (0.0, 1.0)
    assert moments(np.zeros(0, np.float32)) == (0.0, 1.0)


def test_standardised():
    values = np.array([np.nan, 1, 5, 9], np.float32)
    column = Column("age", "user", "numeric", values, mean=5.0, std=4.0)
    assert column.standardised().tolist() == [0, -1, 0, 1]
    assert column.standardised().dtype == np.float32
    assert column.unknown.tolist() == [True, False, False, False]
    assert column.n_categories == 0


def test_unknown_categories():
    words = np.array(["", "a", "b"], dtype=object)
    one = Column("x", "user", "categorical", np.array([0, 2, 0, 1]), words)
    many = Column("y", "user", "multi", Ragged.from_rows([[], [1, 2], []]), words)
    assert one.unknown.tolist() == [True, False, True, False]
    assert many.unknown.tolist() == [True, False, True]
    assert one.n_categories == many.n_categories == 2


def test_cells_as_the_source_had_them():
    words = np.array(["", "a", "b"], dtype=object)
    one = Column("x", "user", "categorical", np.array([0, 2], np.int32), words)
    many = Column("y", "user", "multi", Ragged.from_rows([[], [2, 1]]), words)
    number = Column("z", "user", "numeric", np.array([np.nan, 1.5], np.float32))
    assert [one.cell(0), many.cell(0)] == ["", []] and np.isnan(number.cell(0))
    assert [one.cell(1), many.cell(1), number.cell(1)] == ["b", ["b", "a"], 1.5]


def test_standardised_stays_finite_where_the_training_values_all_but_agree():
    values = np.array([0, 1e-40, 1, -1, np.nan], np.float32)
    mean, std = moments(values[:2])
    column = Column("hour", "context", "numeric", values, mean=mean, std=std)
    assert column.standardised().tolist() == [-1, 1, OUTERMOST, -OUTERMOST, 0]
