import subprocess
import sys

import pytest

from keras_sllmr.errors import DataError, StoreError
from keras_sllmr.pipeline.in_process import InProcess
from keras_sllmr.pipeline.stage import Stage

pytest.importorskip("apache_beam")
from keras_sllmr.pipeline.beam import Beam

IN_MEMORY = ["--runner=DirectRunner", "--direct_running_mode=in_memory"]


def by_remainder(number):
    for times in range(3):
        yield number % 2, (number, times)


def listed(key, found):
    return key, list(found)


@pytest.mark.parametrize("split", [by_remainder, None])
def test_as_in_process(tmp_path, split):
    stage = Stage("grouped", [5, 2, 7], listed, split)
    told = []
    found = Beam(IN_MEMORY, folder=tmp_path, told=told.append).run(stage)
    expected = InProcess().run(stage)
    assert list(found.items()) == list(expected.items())
    assert told == ["grouped"] and not list(tmp_path.iterdir())


def test_nothing_to_do(tmp_path):
    assert Beam(IN_MEMORY, folder=tmp_path).run(Stage("no", [], listed)) == {}


@pytest.mark.parametrize("where", ["split", "combine"])
def test_a_broken_rule_comes_back_as_it_was(tmp_path, where):
    def check(number, *_):
        if number > 1:
            raise DataError(f"`number` must be at most 1. Received: {number}")

    def split(number):
        yield number, number
        if where == "split":
            check(number)

    def combine(key, found):
        if where == "combine":
            check(key)
        return key

    stage = Stage("checked", [0, 1, 2, 3], combine, split)
    runners = Beam(IN_MEMORY, folder=tmp_path), InProcess(tmp_path)
    for runner in runners:
        with pytest.raises(DataError, match="Received: 2$"):
            runner.run(stage)
    assert not list(tmp_path.iterdir())


def test_any_other_failure_is_a_store_error(tmp_path):
    def crash(key, found):
        raise RuntimeError("worker out of luck")

    with pytest.raises(StoreError, match="'crash' failed.*run it again") as raised:
        Beam(IN_MEMORY, folder=tmp_path).run(Stage("crash", [1], crash))
    assert "worker out of luck" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_without_beam_the_remedy_is_named(monkeypatch):
    code = (
        "import sys; sys.modules['apache_beam'] = None\n"
        "import keras_sllmr.pipeline.beam"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode and "pip install keras_sllmr[beam]" in done.stderr
