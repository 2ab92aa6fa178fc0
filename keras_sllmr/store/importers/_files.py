"""Source files as decoded lines, rows and records, with hashes, counts and progress."""

import ast
import contextlib
import csv
import gzip
import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_sllmr.errors import DataError

Progress = Callable[[int, int], None]

_BLOCK = 1 << 20


class Reading:
    """The reading of one data set's files, plain or gzip.

    A line that is not in the file's encoding or not of its format is an error that
    names file and line; with `on_bad="drop"` it is left out and counted in
    `dropped`. A missing, empty or truncated file is always an error. Each file is
    read once: its hash is taken on the way.

    Args:
        paths: the files that will be read; progress is reported over all of them.
        on_bad: "raise" or "drop".
        progress: called with (bytes read, bytes in all) about once a megabyte.
    """

    def __init__(
        self, paths: Sequence[Path], *, on_bad: str, progress: Progress | None = None
    ) -> None:
        self.on_bad = on_bad
        self.dropped = {"undecodable_lines": 0, "malformed_lines": 0}
        self._progress = progress
        self._done = 0
        self._total = sum(self._size(path) for path in paths)
        self._files: list[dict[str, str]] = []

    def source(
        self,
        kind: str,
        options: Mapping[str, Any],
        columns: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """What is recorded about the files read so far.

        `columns` are the names of the roles user, item, order and item_key there.
        """
        return {
            "kind": kind,
            "files": self._files,
            "options": dict(options),
            "columns": dict(columns or {}),
        }

    def lines(
        self, path: Path, *, encoding: str = "utf-8"
    ) -> Iterator[tuple[int, str]]:
        """Yields (line number from 1, line with its end) of what can be decoded."""
        for number, line, whole in self._decoded(path, encoding):
            if whole:
                yield number, line

    def records(self, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (line number, dict) of JSON or Python-literal lines."""
        for number, line in self.lines(path):
            line = line.strip()
            if not line:
                continue
            try:
                # JSON quotes its keys with ", Python's repr with '; neither is run.
                is_json = line[1:].lstrip()[:1] in ('"', "}")
                record = json.loads(line) if is_json else ast.literal_eval(line)
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                record = None
            if isinstance(record, dict):
                yield number, record
            else:
                self.malformed(
                    path, number, "a JSON object or a Python dict", repr(line[:60])
                )

    def rows(
        self,
        path: Path,
        separator: str = ",",
        *,
        fields: int = 0,
        encoding: str = "utf-8",
    ) -> Iterator[tuple[int, list[str]]]:
        """Yields (line number, fields) of the rows with the right number of fields.

        That is `fields`, or as many as the first row has. Fields separated by commas
        may be quoted; others are taken as they stand.
        """
        split = self._csv if separator == "," else self._split
        for number, row in split(path, separator, encoding):
            fields = fields or len(row)
            if len(row) == fields:
                yield number, row
            else:
                self.malformed(path, number, f"{fields} fields", f"{len(row)} fields")

    def malformed(self, path: Path, number: int, wanted: str, got: str) -> None:
        """Raises, or counts, a line that is not what `path` should hold."""
        if self.on_bad == "raise":
            raise DataError(
                f"Every line of {path} must hold {wanted}. Received: {got} in line "
                f"{number}. Fix the line, or drop such lines with --on-bad drop "
                '(in Python: on_bad="drop").'
            )
        self.dropped["malformed_lines"] += 1

    def note(self, path: Path) -> None:
        """Takes the hash of a file that its format's own library reads."""
        with self._open(path, unpack=False) as stream:
            while stream.read(_BLOCK):
                pass

    def _split(
        self, path: Path, separator: str, encoding: str
    ) -> Iterator[tuple[int, list[str]]]:
        for number, line in self.lines(path, encoding=encoding):
            if line := line.rstrip("\r\n"):
                yield number, line.split(separator)

    def _csv(
        self, path: Path, separator: str, encoding: str
    ) -> Iterator[tuple[int, list[str]]]:
        decoded = True

        def texts() -> Iterator[str]:
            nonlocal decoded
            for _, line, whole in self._decoded(path, encoding):
                # The line may be a part of a quoted field: then its whole row goes.
                decoded &= whole
                yield line

        reader = csv.reader(texts(), delimiter=separator, strict=True)
        while True:
            first = reader.line_num + 1
            decoded = True
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if reader.line_num > first:
                    raise DataError(
                        f"A row of {path} that begins in line {first} has no proper "
                        f"end. Received: {error} by line {reader.line_num}. Look for a "
                        "quote that is opened and never closed."
                    ) from error
                self.malformed(path, first, "proper CSV", str(error))
                continue
            if row and decoded:
                yield first, row

    def _decoded(self, path: Path, encoding: str) -> Iterator[tuple[int, str, bool]]:
        """Yields every line, and whether it is whole: all its bytes were decoded."""
        number = 0
        with self._open(path) as stream:
            for number, raw in enumerate(stream, start=1):
                if number == 1 and encoding == "utf-8":
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                try:
                    yield number, raw.decode(encoding), True
                except UnicodeDecodeError as error:
                    if self.on_bad == "raise":
                        raise DataError(
                            f"{path} must be {encoding.upper()} text. Received: byte "
                            f"0x{raw[error.start]:02x} in line {number}, column "
                            f"{error.start + 1}. Convert the file, or drop such lines "
                            'with --on-bad drop (in Python: on_bad="drop").'
                        ) from error
                    self.dropped["undecodable_lines"] += 1
                    yield number, raw.decode(encoding, errors="replace"), False
        if number == 0:
            raise DataError(f"{path} must hold data. Received: an empty file")

    @contextlib.contextmanager
    def _open(self, path: Path, *, unpack: bool = True) -> Iterator[io.BufferedIOBase]:
        """Yields the file's bytes, to be read to their end within the block."""
        tap = _Tap(path, self._on_bytes)
        with io.BufferedReader(tap, buffer_size=_BLOCK) as stream:
            packed = path.suffix == ".gz" or stream.peek(2)[:2] == b"\x1f\x8b"
            try:
                yield gzip.GzipFile(fileobj=stream) if unpack and packed else stream
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise DataError(
                    f"{path} is truncated or damaged, so that gzip cannot unpack it to "
                    f"its end. Received: {error}. Download it again."
                ) from error
        self._files.append({"name": path.name, "sha256": tap.sha256.hexdigest()})

    def _on_bytes(self, count: int) -> None:
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._total)

    @staticmethod
    def _size(path: Path) -> int:
        try:
            with path.open("rb") as handle:
                return os.fstat(handle.fileno()).st_size
        except OSError as error:
            raise DataError(
                f"A source file cannot be read. Received: {path} "
                f"({error.strerror or error})"
            ) from error


def pick(folder: Path, *patterns: str, but_not: str = "") -> Path:
    """The one file of a folder that fits any of the glob patterns.

    Raises:
        DataError: none fits, or more than one.
    """
    listed = sorted(path for path in folder.iterdir() if path.is_file())
    found = [
        path
        for path in listed
        if any(path.match(pattern) for pattern in patterns)
        and not (but_not and path.match(but_not))
    ]
    if len(found) != 1:
        wanted = " or ".join(f"`{pattern}`" for pattern in patterns)
        raise DataError(
            f"{folder} must hold one file {wanted}. Received: "
            f"{[path.name for path in found or listed]}. Name the files themselves, or "
            "give a folder of one data set."
        )
    return found[0]


class _Tap(io.RawIOBase):
    """Passes a file's bytes on, hashing and counting them."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None]) -> None:
        self._file = path.open("rb", buffering=0)
        self._on_bytes = on_bytes
        self.sha256 = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        if count:
            self.sha256.update(memoryview(buffer)[:count])
            self._on_bytes(count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
