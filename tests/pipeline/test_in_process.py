import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.stage import Stage


def by_remainder(number):
    for times in range(2):
        yield number % 2, (number, times)


def listed(key, found):
    return key, list(found)


def test_keys_in_order_with_their_parts_in_the_units_order():
    found = InProcess().run(Stage("grouped", [5, 2, 7], listed, by_remainder))
    assert list(found.items()) == [
        (0, (0, [(2, 0), (2, 1)])),
        (1, (1, [(5, 0), (5, 1), (7, 0), (7, 1)])),
    ]


def test_without_a_split_each_unit_is_a_key():
    assert InProcess().run(Stage("alone", ["a", "b"], listed)) == {
        0: (0, ["a"]),
        1: (1, ["b"]),
    }


def test_nothing_to_do():
    assert InProcess().run(Stage("empty", [], listed, by_remainder)) == {}


def test_tells_of_each_stage(tmp_path):
    told = []
    runner = InProcess(tmp_path, told=told.append)
    for name in ("one", "two"):
        runner.run(Stage(name, [1], listed, by_remainder))
    assert told == ["one", "two"] and not list(tmp_path.iterdir())


def test_an_error_leaves_nothing_behind(tmp_path):
    def broken(number):
        yield 0, number
        raise DataError("rule")

    with pytest.raises(DataError, match="rule"):
        InProcess(tmp_path).run(Stage("broken", [1], listed, broken))
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_parts(tmp_path, monkeypatch):
    import sqlite3

    from keras_sllmr.pipeline import in_process

    class Full(sqlite3.Connection):
        def execute(self, statement, *rest):
            if statement.startswith("INSERT"):
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(statement, *rest)

    connect = sqlite3.connect
    monkeypatch.setattr(
        in_process.sqlite3,
        "connect",
        lambda *args, **named: connect(*args, **named, factory=Full),
    )
    with pytest.raises(StoreError, match="full.*Free some space"):
        InProcess(tmp_path).run(Stage("grouped", [1], listed, by_remainder))
    assert not list(tmp_path.iterdir())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=6), max_size=6))
def test_everything_arrives_once_in_order(units):
    def split(unit):
        return [(key, (key, place)) for place, key in enumerate(unit)]

    found = InProcess().run(Stage("any", units, lambda key, parts: parts, split))
    expected = {}
    for unit in units:
        for place, key in enumerate(unit):
            expected.setdefault(key, []).append((key, place))
    assert found == dict(sorted(expected.items()))
