import datetime
import json

import pytest

import keras_sllmr
from keras_sllmr.errors import StoreError
from keras_sllmr.io.hashing import file_sha256
from keras_sllmr.store.manifest import (
    read_manifest,
    require_replaceable,
    verify_files,
    write_manifest,
)


def write(folder, **changes):
    values = {
        "kind": "llm_score",
        "schema_version": 3,
        "parent": {"store": "abc"},
        "settings": {"seed": 1},
        "counts": {"rows": 2},
        **changes,
    }
    return write_manifest(folder, **values)


def read(folder):
    return read_manifest(folder, kind="llm_score", schema_version=3)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "made"
    (folder / "views").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "views" / "é.bin").write_bytes(b"\x00")
    return folder


def edit(folder, **changes):
    path = folder / "manifest.json"
    manifest = {**json.loads(path.read_text()), **changes}
    manifest = {name: value for name, value in manifest.items() if value is not None}
    path.write_text(json.dumps(manifest))


def test_says_what_was_made(folder):
    written = write(folder, teacher={"name": "tfidf"})
    manifest = read(folder)
    assert manifest == written
    assert manifest["kind"] == "llm_score" and manifest["schema_version"] == 3
    assert manifest["code_version"] == keras_sllmr.__version__
    assert manifest["counts"] == {"rows": 2}
    assert manifest["settings"] == {"seed": 1}
    assert manifest["parent"] == {"store": "abc"}
    assert manifest["teacher"] == {"name": "tfidf"}
    assert manifest["files"] == {
        name: file_sha256(folder / name) for name in ("a.txt", "views/é.bin")
    }
    created = datetime.datetime.fromisoformat(manifest["created"])
    age = datetime.datetime.now(datetime.timezone.utc) - created
    assert abs(age) < datetime.timedelta(minutes=5)


def test_fingerprint_is_of_the_content(folder):
    first = write(folder)["fingerprint"]
    assert write(folder, settings={}, parent={}, counts={})["fingerprint"] == first
    others = {write(folder, kind="store")["fingerprint"]}
    others.add(write(folder, schema_version=4)["fingerprint"])
    (folder / "a.txt").rename(folder / "b.txt")
    others.add(write(folder)["fingerprint"])
    (folder / "b.txt").write_text("b")
    others.add(write(folder)["fingerprint"])
    assert len(others | {first}) == 5


def test_nothing_there(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(StoreError, match="is not a llm score: it has no manifest"):
            read(path)


def test_another_kind(folder):
    write(folder, kind="store")
    with pytest.raises(StoreError, match="should be a llm_score. Received: a store"):
        read(folder)


def test_another_version(folder):
    write(folder, schema_version=2)
    with pytest.raises(
        StoreError, match=r"schema version 2, and this release.*reads version 3.*0\.1"
    ):
        read(folder)


@pytest.mark.parametrize("content", ["", "{", '{"kind": "llm_score"', "\ud800"])
def test_damaged_json(folder, content):
    (folder / "manifest.json").write_text(content, errors="surrogatepass")
    with pytest.raises(StoreError, match="manifest.json is not valid JSON"):
        read(folder)


@pytest.mark.parametrize("content", ["[]", "null", '"llm_score"', "{}", "3"])
def test_json_of_something_else(folder, content):
    (folder / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match="should be a llm_score. Received: a None"):
        read(folder)


@pytest.mark.parametrize(
    "name", ["counts", "settings", "parent", "files", "fingerprint"]
)
def test_lacking_part(folder, name):
    write(folder)
    edit(folder, **{name: None})
    with pytest.raises(StoreError, match=rf"is damaged: it lacks \['{name}'\]"):
        read(folder)


def test_verify(folder):
    write(folder)
    verify_files(folder, read(folder))
    (folder / "more.txt").write_text("not ours")
    verify_files(folder, read(folder))
    (folder / "a.txt").write_text("b")
    with pytest.raises(StoreError, match="a.txt is not what was written"):
        verify_files(folder, read(folder))
    (folder / "a.txt").unlink()
    with pytest.raises(StoreError, match="a.txt is missing. Make it again"):
        verify_files(folder, read(folder))


def test_verify_the_manifest_itself(folder):
    write(folder)
    edit(folder, fingerprint="0" * 64)
    with pytest.raises(StoreError, match="manifest.json is not what was written"):
        verify_files(folder, read(folder))


def test_replaceable(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    write(folder, schema_version=1)
    for path in (folder, str(folder), empty, tmp_path / "nowhere"):
        require_replaceable(path, kind="llm_score")


def test_not_replaceable(folder, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for path in (folder, file):
        with pytest.raises(StoreError, match="exists and is not a store, so it is not"):
            require_replaceable(path, kind="store")
    write(folder)
    with pytest.raises(StoreError, match="exists and is not a store"):
        require_replaceable(folder, kind="store")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="is not a llm score.*Choose another folder"):
        require_replaceable(folder, kind="llm_score")
