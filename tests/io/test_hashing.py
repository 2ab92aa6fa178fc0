import hashlib

import pytest

from keras_sllmr.io.hashing import file_sha256, fingerprint, folder_sha256


def test_file(tmp_path):
    path = tmp_path / "a.bin"
    content = b"0123456789" * 200_000  # more than one block
    path.write_bytes(content)
    assert file_sha256(path) == hashlib.sha256(content).hexdigest()


def test_folder_covers_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.txt").write_text("1")
    (tmp_path / "sub" / "b.txt").write_text("2")
    first = folder_sha256(tmp_path)
    assert folder_sha256(str(tmp_path)) == first
    (tmp_path / "sub" / "b.txt").write_text("3")
    changed = folder_sha256(tmp_path)
    (tmp_path / "sub" / "b.txt").write_text("2")
    (tmp_path / "a.txt").rename(tmp_path / "c.txt")
    renamed = folder_sha256(tmp_path)
    assert len({first, changed, renamed}) == 3


def test_folder_pattern(tmp_path):
    (tmp_path / "a.txt").write_text("1")
    first = folder_sha256(tmp_path, "*.txt")
    (tmp_path / "b.log").write_text("noise")
    assert folder_sha256(tmp_path, "*.txt") == first


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}, True),
        ((1, 2), [1, 2], True),
        ([1, 2], [2, 1], False),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": None}, {}, False),
        ("\u00e9", "e\u0301", False),
    ],
)
def test_fingerprint(one, two, same):
    assert (fingerprint(one) == fingerprint(two)) is same


def test_fingerprint_is_fixed():
    # Manifests of earlier releases hold these values.
    digest = hashlib.sha256(b'{"a":[1,0.5,true]}').hexdigest()
    assert fingerprint({"a": [1, 0.5, True]}) == digest
