"""The Batch API's files: requests out, answers in, a JSON line each."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_sllmr.errors import StoreError
from keras_sllmr.scoring.llm.caps import Reservation
from keras_sllmr.scoring.llm.client import Unanswered, may_pass, read_answer
from keras_sllmr.scoring.llm.request import Answer, Request


class BatchFile:
    """Requests on disk, up to a file's limits; memory holds their keys alone.

    Args:
        path: the file; replaced.
        max_requests: int.
        max_bytes: int. A single larger request has a file of its own.

    Raises:
        StoreError: when it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "requests.jsonl"
        >>> file = BatchFile(path, max_requests=1, max_bytes=1000)
        >>> request = Request("/chat/completions", {"model": "m"})
        >>> file.takes(request)
        True
        >>> file.add(request, Reservation(1, 1))
        >>> file.takes(request)
        False
    """

    def __init__(self, path: Path, *, max_requests: int, max_bytes: int) -> None:
        self.path, self.max_requests, self.max_bytes = path, max_requests, max_bytes
        self.reservations: dict[str, Reservation] = {}
        self.route = ""
        self.bytes = 0
        path.unlink(missing_ok=True)

    def takes(self, request: Request) -> bool:
        """Whether a request has room; a batch is for one route."""
        return not self.reservations or (
            len(self.reservations) < self.max_requests
            and self.bytes + len(request_line(request)) <= self.max_bytes
            and self.route == _route(request)
        )

    def add(self, request: Request, reservation: Reservation) -> None:
        """Writes a request at the end."""
        line = request_line(request)
        self.route = _route(request)
        self.bytes += len(line)
        self.reservations[request.key] = reservation
        try:
            with self.path.open("ab") as file:
                file.write(line)
        except OSError as error:
            raise StoreError(
                f"Could not write {self.path}: {error.strerror}. Free some space, and "
                "run it again."
            ) from error


def read_lines(path: Path) -> Iterator[tuple[str, Answer | Unanswered]]:
    """What a batch's output or error file says, line by line.

    Yields:
        The request's key, empty where none can be read, and its answer or why there is
        none.
    """
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield _outcome(line)


def _outcome(line: bytes) -> tuple[str, Answer | Unanswered]:
    try:
        entry = json.loads(line)
        key = str(entry.get("custom_id") or "")
        response = entry.get("response") or {}
        status = int(response.get("status_code") or 0)
    except (ValueError, TypeError, AttributeError):
        return "", Unanswered("unreadable")
    if not status:
        # The batch ended first, or the like: the request itself may be fine.
        return key, Unanswered(_code(entry.get("error")), retry=True)
    if status != 200:
        return key, Unanswered(f"http {status}", retry=may_pass(status))
    try:
        return key, read_answer(response["body"])
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return key, Unanswered("unreadable", retry=True, billed=True)


def _code(error: Any) -> str:
    """An error's code if it is one word, as no text of an endpoint is to be kept."""
    code = error.get("code") if isinstance(error, dict) else None
    plain = isinstance(code, str) and re.fullmatch(r"[a-z_]{1,40}", code)
    return str(code).replace("_", " ") if plain else "batch error"


def _route(request: Request) -> str:
    return f"/v1{request.path}"


def request_line(request: Request, custom_id: str | None = None) -> bytes:
    """A request's line in a file for the Batch API.

    Args:
        request: the request.
        custom_id: what its answer will be called by. Defaults to its key.
    """
    entry = {
        "custom_id": custom_id or request.key,
        "method": "POST",
        "url": _route(request),
        "body": request.body,
    }
    return json.dumps(entry, separators=(",", ":")).encode() + b"\n"
