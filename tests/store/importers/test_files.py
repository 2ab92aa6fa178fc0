import gzip
import hashlib

import pytest

from keras_sllmr.errors import DataError
from keras_sllmr.store.importers._files import Reading, pick


def reading(*paths, on_bad="raise", progress=None):
    return Reading(paths, on_bad=on_bad, progress=progress)


def write(path, data: bytes):
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_hash_and_progress(tmp_path, name):
    path = write(tmp_path / name, b"\xef\xbb\xbfone\ntw\xc3\xb6\n")
    calls = []
    source = reading(path, progress=lambda done, total: calls.append((done, total)))
    assert list(source.lines(path)) == [(1, "one\n"), (2, "twö\n")]
    size = path.stat().st_size
    assert calls[-1] == (size, size)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    assert source.source("test", {"a": 1}) == {
        "kind": "test",
        "files": [{"name": name, "sha256": sha256}],
        "options": {"a": 1},
        "columns": {},
    }


def test_gzip_is_told_by_its_first_bytes_too(tmp_path):
    path = tmp_path / "packed.json"
    path.write_bytes(gzip.compress(b"one\n"))
    assert list(reading(path).lines(path)) == [(1, "one\n")]


def test_progress_runs_over_all_files(tmp_path):
    one = write(tmp_path / "one", b"x" * 10)
    two = write(tmp_path / "two", b"y" * 5)
    calls = []
    source = reading(one, two, progress=lambda *call: calls.append(call))
    list(source.lines(one))
    source.note(two)
    assert calls == [(10, 15), (15, 15)]
    assert [file["name"] for file in source.source("test", {})["files"]] == [
        "one",
        "two",
    ]


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv \(No such file"):
        reading(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        reading(tmp_path)


@pytest.mark.parametrize("name", ["empty.csv", "empty.csv.gz"])
@pytest.mark.parametrize("on_bad", ["raise", "drop"])
def test_empty_file(tmp_path, name, on_bad):
    path = write(tmp_path / name, b"")
    with pytest.raises(DataError, match="an empty file"):
        list(reading(path, on_bad=on_bad).lines(path))


@pytest.mark.parametrize("on_bad", ["raise", "drop"])
def test_truncated_or_damaged_gzip(tmp_path, on_bad):
    whole = gzip.compress(b"".join(b"line %d\n" % n for n in range(5000)))
    middle = len(whole) // 2
    damaged = whole[:middle] + b"\x00\xff\x13" + whole[middle + 3 :]
    for content in (whole[:-20], whole[:middle], damaged, b"<html>", whole + b"x"):
        path = tmp_path / "lines.gz"
        path.write_bytes(content)
        source = reading(path, on_bad=on_bad)
        with pytest.raises(DataError, match="truncated or damaged.*Download it again"):
            list(source.lines(path))
        assert source.source("test", {})["files"] == []


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_bytes_that_are_not_utf8(tmp_path, name):
    path = write(tmp_path / name, b"one\ncaf\xe9\nthree\n")
    with pytest.raises(DataError, match="byte 0xe9 in line 2, column 4") as caught:
        list(reading(path).lines(path))
    assert str(path) in str(caught.value)
    source = reading(path, on_bad="drop")
    assert list(source.lines(path)) == [(1, "one\n"), (3, "three\n")]
    assert source.dropped == {"undecodable_lines": 1, "malformed_lines": 0}


def test_latin_1(tmp_path):
    path = write(tmp_path / "a", b"caf\xe9\n")
    assert list(reading(path).lines(path, encoding="latin-1")) == [(1, "café\n")]


def test_records_are_json_or_python_literals(tmp_path):
    path = write(
        tmp_path / "a",
        b'{"a": null, "b": true}\n\n{\'a\': None}\n{u\'a\': u"it\'s"}\n { "a": 1}\n{}\n',
    )
    assert list(reading(path).records(path)) == [
        (1, {"a": None, "b": True}),
        (3, {"a": None}),
        (4, {"a": "it's"}),
        (5, {"a": 1}),
        (6, {}),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b'{"a": 1',
        b"{'a': 1",
        b"[1]",
        b"<html>",
        b"{[]: 1}",
        b"{'a': open('x')}",
        b"{'a': " + b"(" * 300 + b")" * 300 + b"}",
        b'{"a": ' + b"[" * 200_000,
    ],
)
def test_malformed_records(tmp_path, line):
    path = write(tmp_path / "a", b"{'ok': 1}\n" + line + b"\n{'ok': 2}\n")
    with pytest.raises(DataError, match="JSON object or a Python dict.*in line 2"):
        list(reading(path).records(path))
    source = reading(path, on_bad="drop")
    assert list(source.records(path)) == [(1, {"ok": 1}), (3, {"ok": 2})]
    assert source.dropped["malformed_lines"] == 1


def test_literals_are_never_run(tmp_path):
    target = tmp_path / "made"
    call = f"{{'a': __import__('pathlib').Path({str(target)!r}).touch()}}\n"
    path = write(tmp_path / "a", call.encode())
    with pytest.raises(DataError):
        list(reading(path).records(path))
    assert not target.exists()


def test_rows_of_csv(tmp_path):
    path = write(tmp_path / "a", b'a,b\r\n1,"x, ""y""\nz"\n\n2,\r\n')
    assert list(reading(path).rows(path)) == [
        (1, ["a", "b"]),
        (2, ["1", 'x, "y"\nz']),
        (5, ["2", ""]),
    ]


def test_rows_by_other_separators_are_not_quoted(tmp_path):
    path = write(tmp_path / "a", b'1::"x\n2::y\n')
    assert list(reading(path).rows(path, "::")) == [(1, ["1", '"x']), (2, ["2", "y"])]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_rows_with_another_number_of_fields(tmp_path, separator):
    text = "a,b\n1,2,3\n4\n5,6\n".replace(",", separator)
    path = write(tmp_path / "a", text.encode())
    with pytest.raises(DataError, match="2 fields. Received: 3 fields in line 2"):
        list(reading(path).rows(path, separator))
    source = reading(path, on_bad="drop")
    assert list(source.rows(path, separator)) == [(1, ["a", "b"]), (4, ["5", "6"])]
    assert source.dropped["malformed_lines"] == 2
    with pytest.raises(DataError, match="3 fields. Received: 2 fields in line 1"):
        list(reading(path).rows(path, separator, fields=3))


def test_undecodable_part_of_a_quoted_field_takes_its_row(tmp_path):
    path = write(tmp_path / "a", b'a,b\n1,"x\n\xff"\n2,y\n')
    with pytest.raises(DataError, match="byte 0xff in line 3"):
        list(reading(path).rows(path))
    source = reading(path, on_bad="drop")
    assert list(source.rows(path)) == [(1, ["a", "b"]), (4, ["2", "y"])]
    assert source.dropped == {"undecodable_lines": 1, "malformed_lines": 0}


def test_improper_quotes_in_a_line(tmp_path):
    path = write(tmp_path / "a", b'a,b\n"1"2,x\n3,y\n')
    with pytest.raises(DataError, match="proper CSV.*in line 2"):
        list(reading(path).rows(path))
    source = reading(path, on_bad="drop")
    assert list(source.rows(path)) == [(1, ["a", "b"]), (3, ["3", "y"])]
    assert source.dropped["malformed_lines"] == 1


@pytest.mark.parametrize("on_bad", ["raise", "drop"])
def test_a_quote_that_is_never_closed(tmp_path, on_bad):
    path = write(tmp_path / "a", b'a,b\n1,"x\n' + b"2,y\n" * 50_000)
    with pytest.raises(DataError, match="begins in line 2 has no proper end"):
        list(reading(path, on_bad=on_bad).rows(path))


def test_pick(tmp_path):
    for name in ("meta_a.json", "a.json", "notes.txt"):
        (tmp_path / name).touch()
    assert pick(tmp_path, "*.json", but_not="meta_*").name == "a.json"
    assert pick(tmp_path, "meta_*", "x").name == "meta_a.json"
    with pytest.raises(DataError, match="a.json.*meta_a.json"):
        pick(tmp_path, "*.json")
    with pytest.raises(DataError, match=r"one file `\*.csv`.*notes.txt"):
        pick(tmp_path, "*.csv")
