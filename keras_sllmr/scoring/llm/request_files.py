"""Files of requests for the Batch API, written one after another."""

from pathlib import Path

from keras_sllmr.io.atomic import replace_file
from keras_sllmr.scoring.llm.batch_files import request_line
from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.request import Request


class RequestFiles:
    """Writes requests to files within the API's limits, each whole or not at all.

    Args:
        folder: of the files.
        stem: of the files' names, `STEM-000.jsonl` and on.
        limits: of a file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> files = RequestFiles(folder, "requests", BatchSettings())
        >>> files.add(Request("/chat/completions", {"model": "m"}), "one")
        >>> files.close()
        >>> [path.name for path in folder.iterdir()]
        ['requests-000.jsonl']
    """

    def __init__(self, folder: Path, stem: str, limits: BatchSettings) -> None:
        self.folder, self.stem, self.limits = folder, stem, limits
        self.written = 0
        self._lines: list[bytes] = []
        self._bytes = 0

    def add(self, request: Request, custom_id: str) -> None:
        """Takes a request; a file that is full is written."""
        line = request_line(request, custom_id)
        full = len(self._lines) >= self.limits.max_requests_per_file
        if full or self._bytes + len(line) > self.limits.max_bytes_per_file:
            self._flush()
        self._lines.append(line)
        self._bytes += len(line)

    def _flush(self) -> None:
        if self._lines:
            name = f"{self.stem}-{self.written:03d}.jsonl"
            with replace_file(self.folder / name) as beside:
                beside.write_bytes(b"".join(self._lines))
            self.written += 1
        self._lines, self._bytes = [], 0

    def close(self) -> None:
        """Writes the last file."""
        self._flush()
