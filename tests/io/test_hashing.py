import hashlib

import pytest

from keras_sllmr.io.hashing import file_hashes, file_sha256, fingerprint


def test_file(tmp_path):
    path = tmp_path / "a.bin"
    content = b"0123456789" * 200_000  # more than one block
    path.write_bytes(content)
    assert file_sha256(path) == hashlib.sha256(content).hexdigest()


def test_files_of_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("1")
    (tmp_path / "sub" / "a.txt").write_text("2")
    (tmp_path / "sub" / "skipped").write_text("3")
    assert file_hashes(str(tmp_path), skip="skipped") == {
        "b.txt": hashlib.sha256(b"1").hexdigest(),
        "sub/a.txt": hashlib.sha256(b"2").hexdigest(),
    }
    assert list(file_hashes(tmp_path)) == ["b.txt", "sub/a.txt", "sub/skipped"]


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
