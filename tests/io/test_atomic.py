import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_sllmr.errors import StoreError
from keras_sllmr.io import atomic
from keras_sllmr.io.atomic import (
    read_json,
    replace_file,
    replace_folder,
    sweep,
    write_json,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old.txt").write_text("old")
    return folder


def test_folder_appears_when_whole(tmp_path):
    path = tmp_path / "made" / "on the way" / "out"
    with replace_folder(path) as beside:
        assert beside.parent == path.parent and names(beside) == []
        (beside / "a.txt").write_text("new")
        assert not path.exists()
    assert names(path.parent) == ["out"]
    assert (path / "a.txt").read_text() == "new"


def test_folder_takes_the_place_of_another(old):
    with replace_folder(str(old)) as beside:
        (beside / "new.txt").write_text("new")
        assert names(old) == ["old.txt"]
    assert names(old) == ["new.txt"]
    assert names(old.parent) == ["out"]


def test_failure_leaves_the_old_folder(old):
    with pytest.raises(ZeroDivisionError), replace_folder(old) as beside:
        (beside / "new.txt").write_text("new")
        1 / 0  # noqa: B018
    assert names(old) == ["old.txt"] and names(old.parent) == ["out"]


def test_failure_leaves_no_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), replace_folder(tmp_path / "out") as beside:
        (beside / "new.txt").write_text("new")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_full_disk_is_a_store_error(old):
    with (
        pytest.raises(StoreError, match=r"Could not write .*out: No space left"),
        replace_folder(old),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert names(old) == ["old.txt"] and names(old.parent) == ["out"]


def test_folder_does_not_replace_a_file(tmp_path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with (
        pytest.raises(StoreError, match="should be a folder and is a file"),
        replace_folder(path),
    ):
        pytest.fail("must not begin")
    assert path.read_text() == "mine" and names(tmp_path) == ["notes"]


@pytest.mark.parametrize("failing", [0, 1])
def test_failed_rename_brings_the_old_folder_back(old, monkeypatch, failing):
    rename, calls = os.rename, []

    def failing_once(source, target):
        calls.append(target)
        if len(calls) - 1 == failing:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", failing_once)
    with (
        pytest.raises(StoreError, match="Input/output error"),
        replace_folder(old) as beside,
    ):
        (beside / "new.txt").write_text("new")
    assert names(old) == ["old.txt"] and names(old.parent) == ["out"]


def test_what_cannot_be_brought_back_is_kept(old, monkeypatch):
    rename, calls = os.rename, []

    def failing_for_good(source, target):
        calls.append(target)
        if len(calls) > 1:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", failing_for_good)
    with pytest.raises(StoreError), replace_folder(old):
        pass
    monkeypatch.undo()
    (kept,) = old.parent.iterdir()
    assert kept.name.startswith(".out.old-") and not old.exists()
    sweep(old)
    assert names(old) == ["old.txt"] and names(old.parent) == ["out"]


def test_file_appears_when_whole(tmp_path):
    path = tmp_path / "made" / "a.txt"
    for text in ("first", "second"):
        with replace_file(path) as beside:
            assert beside.parent == path.parent
            beside.write_text(text)
        assert path.read_text() == text
    assert names(path.parent) == ["a.txt"]


def test_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replace_file(path) as beside:
        beside.write_text("half")
        1 / 0  # noqa: B018
    with (
        pytest.raises(StoreError, match="Could not write .*a.txt: No space left"),
        replace_file(path),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_file_does_not_replace_a_folder(old):
    with pytest.raises(StoreError, match="Could not write"), replace_file(old):
        pass
    assert names(old) == ["old.txt"] and names(old.parent) == ["out"]


def test_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for replace in (replace_file, replace_folder):
        with (
            pytest.raises(StoreError, match="Could not write"),
            replace(tmp_path / "file" / "out"),
        ):
            pytest.fail("must not begin")


def test_outputs_have_the_users_usual_mode(tmp_path, umask):
    with replace_folder(tmp_path / "out") as beside:
        write_json(beside / "a.json", {})
    with replace_file(tmp_path / "a.txt"):
        pass
    assert mode(tmp_path / "out") == 0o750
    assert mode(tmp_path / "out" / "a.json") == 0o640
    assert mode(tmp_path / "a.txt") == 0o640


def test_json_round_trip(tmp_path):
    path = tmp_path / "a.json"
    value = {"z": 1, "a": [0.1, None, True], "é": "naïve 日本 🎲"}
    write_json(path, value)
    assert read_json(path) == value
    assert list(read_json(path)) == ["z", "a", "é"]
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_json_of_numpy_and_paths(tmp_path):
    path = tmp_path / "a.json"
    write_json(
        path,
        {"n": np.int64(3), "x": np.float32(0.5), "v": np.arange(2), "p": Path("a/b")},
    )
    assert read_json(path) == {"n": 3, "x": 0.5, "v": [0, 1], "p": "a/b"}


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), np.float32("nan"), np.array([1.0, np.nan]), [np.nan]],
)
def test_json_refuses_nan(tmp_path, value):
    path = tmp_path / "a.json"
    write_json(path, "old")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": value})
    assert read_json(path) == "old" and names(tmp_path) == ["a.json"]


def test_json_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(TypeError, match="cannot write set as JSON"):
        write_json(tmp_path / "a.json", {"value": {1}})
    assert names(tmp_path) == []


def test_reading_bad_json(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(StoreError, match="No such file: .*a.json"):
        read_json(path)
    with pytest.raises(StoreError, match="Could not read"):
        read_json(tmp_path)
    for content in (b"", b'{"a": 1', b'{"a": "\xff"}'):
        path.write_bytes(content)
        with pytest.raises(StoreError, match="a.json is not valid JSON"):
            read_json(path)


def test_sweep_clears_only_what_is_left_of_this_path(tmp_path):
    left = [".out.new-abcd_123", ".out.new-00000000", ".out.old-zzzzzzzz"]
    others = [
        ".out.new-abcd_123.lock",  # the lock of a path named "out.new-abcd_123"
        ".out.new-b.new-abcd1234",
        ".out2.new-abcd1234",
        ".xout.new-abcd1234",
        ".out.lock",
        "out.new-abcd1234",
    ]
    for name in [left[0], left[2], *others[1:4]]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("half")
    for name in [left[1], others[0], *others[4:]]:
        (tmp_path / name).write_text("")
    (tmp_path / "out").mkdir()
    sweep(tmp_path / "out")
    assert names(tmp_path) == sorted([*others, "out"])


def test_sweep_of_a_name_with_special_characters(tmp_path):
    (tmp_path / ".a[1].*.new-abcd1234").mkdir()
    (tmp_path / ".a1.x.new-abcd1234").mkdir()
    sweep(tmp_path / "a[1].*")
    assert names(tmp_path) == [".a1.x.new-abcd1234"]


def test_sweep_keeps_the_newer_folder(old):
    left = old.parent / ".out.old-abcd1234"
    (left / "out").mkdir(parents=True)
    sweep(old)
    assert names(old) == ["old.txt"] and names(old.parent) == ["out"]


def test_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, "old")
    program = (
        "import os, signal, sys\n"
        "from keras_sllmr.io.atomic import replace_file\n"
        "with replace_file(sys.argv[1]) as beside:\n"
        "    beside.write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert json.loads(path.read_text()) == "old"
