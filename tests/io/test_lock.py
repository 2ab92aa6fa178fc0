import time

import pytest

from keras_sllmr.errors import StoreError
from keras_sllmr.io.lock import exclusive


def test_two_processes(tmp_path, other_writer):
    path = tmp_path / "out"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with other_writer(path) as process:
        before = sorted(p.name for p in tmp_path.iterdir())
        assert any(name.startswith(".out.new-") for name in before)
        started = time.monotonic()
        with (
            pytest.raises(StoreError, match="Another process is writing .*out"),
            exclusive(path),
        ):
            pytest.fail("must not begin")
        assert time.monotonic() - started < 5
        assert sorted(p.name for p in tmp_path.iterdir()) == before
        with exclusive(tmp_path / "another"):
            pass
        process.kill()
        process.wait()
        with exclusive(path):
            left = {p.name for p in tmp_path.iterdir()} - {".another.lock"}
            assert left - {".out.lock"} == {"out"}
    assert [p.name for p in path.iterdir()] == ["old.txt"]


def test_twice_in_one_process(tmp_path):
    with (
        exclusive(tmp_path / "out"),
        pytest.raises(StoreError, match="Another process"),
        exclusive(tmp_path / "out"),
    ):
        pytest.fail("must not begin")
    with exclusive(tmp_path / "out"):
        pass


def test_released_after_a_failure(tmp_path):
    with pytest.raises(ZeroDivisionError), exclusive(tmp_path / "out"):
        1 / 0  # noqa: B018
    with exclusive(tmp_path / "out"):
        pass


def test_makes_the_parent(tmp_path):
    with exclusive(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b").is_dir()
    assert not (tmp_path / "a" / "b" / "out").exists()


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StoreError, match="Could not lock .*out for writing"),
        exclusive(tmp_path / "file" / "out"),
    ):
        pytest.fail("must not begin")
