"""The ledger: every request sent, what it cost, and every answer, on disk at once."""

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tenacity

from keras_sllmr.errors import StoreError
from keras_sllmr.io.lock import exclusive
from keras_sllmr.scoring.llm.request import Answer, Question, Request, Usage

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, answer BLOB NOT NULL,
    prompt INTEGER, completion INTEGER, cached INTEGER, usd REAL);
CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sent (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL, at REAL NOT NULL, outcome TEXT,
    prompt INTEGER, completion INTEGER, usd REAL, batch INTEGER);
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY, tag TEXT NOT NULL UNIQUE, endpoint TEXT NOT NULL,
    name TEXT, open INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS sent_in_batch ON sent (key) WHERE batch IS NOT NULL;
CREATE INDEX IF NOT EXISTS open_in_batch ON sent (batch, key)
    WHERE batch IS NOT NULL AND outcome IS NULL;
"""
LOST, ANSWERED = "lost", "answered"


@dataclass(frozen=True)
class Totals:
    """What a ledger's requests came to, from its first day on.

    Args:
        requests: int. Sent, retries included.
        prompt_tokens: int. Charged; those of requests of unknown fate as reserved.
        completion_tokens: int. Likewise.
        usd: float. Likewise.
        outcomes: how many requests ended how.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float
    outcomes: Counter[str]


class Ledger:
    """Answers by request key, and the money they cost, in one SQLite file.

    An answer is committed before anything else happens, so neither Ctrl-C nor
    `kill -9` loses one. A request that was under way when the job died counts as sent
    and, as it may have been billed, as spent. Prompts and keys of endpoints are not
    kept.

    Args:
        path: the file, made when missing.

    Raises:
        StoreError: when it is not a ledger of this version, or cannot be written.

    Example:
        >>> import tempfile
        >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "ledger.sqlite")
        >>> sent = ledger.begin("key", prompt=10, completion=5, usd=0.0)
        >>> ledger.answer(sent, "key", Answer(content="Yes"), usd=0.0)
        >>> ledger.get("key").content
        'Yes'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The event loop may run in another thread than the reader; never both.
            self.database = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False
            )
            if self._version() != _VERSION:
                self._make()
            self._write_ahead()
            # Safe against a killed process; a power failure may cost the last answers.
            self.database.execute("PRAGMA synchronous = NORMAL")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"{self.path} cannot be used as a ledger: {error}. Name another file, "
                "or check its permissions and the disk."
            ) from error

    def _version(self) -> int:
        return int(self.database.execute("PRAGMA user_version").fetchone()[0])

    # SQLite does not wait for the lock that this takes.
    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(sqlite3.OperationalError),
        stop=tenacity.stop_after_delay(5),
        wait=tenacity.wait_fixed(0.05),
        reraise=True,
    )
    def _write_ahead(self) -> None:
        self.database.execute("PRAGMA journal_mode = WAL")

    def _make(self) -> None:
        """Makes the tables of a new file, unless another process just has."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            version = self._version()
            tables = self.database.execute("SELECT count(*) FROM sqlite_master")
            if version != _VERSION and tables.fetchone()[0]:
                raise StoreError(
                    f"{self.path} is not a ledger that this release reads (version "
                    f"{version}, needed: {_VERSION}). Name another file."
                )
            for statement in _TABLES.split(";"):
                self.database.execute(statement)
            self.database.execute(f"PRAGMA user_version = {_VERSION}")
        finally:
            self.database.execute("COMMIT")

    def close(self) -> None:
        """Closes the file."""
        self.database.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Holds the writer's lock, and settles what a killed job left under way.

        Raises:
            StoreError: when another process holds it, or the file cannot be written.
        """
        with exclusive(self.path):
            try:
                # What a batch holds is not lost: it is collected later.
                self.database.execute(
                    "UPDATE sent SET outcome = ? "
                    "WHERE outcome IS NULL AND batch IS NULL",
                    (LOST,),
                )
                yield
            except sqlite3.Error as error:
                raise StoreError(
                    f"Could not write the ledger {self.path}: {error}. Free some space "
                    "or check the permissions, and run it again: what it holds is kept."
                ) from error

    def get(self, key: str) -> Answer | None:
        """The answer to a request; none if it was never answered."""
        row = self.database.execute(
            "SELECT answer, prompt, completion, cached FROM answers WHERE key = ?",
            (key,),
        ).fetchone()
        return _decode(row[0], Usage(*row[1:])) if row else None

    def usd(self, key: str) -> float:
        """What the answer to a request cost."""
        query = "SELECT usd FROM answers WHERE key = ?"
        return float(self.database.execute(query, (key,)).fetchone()[0])

    def failure(self, key: str) -> Answer | None:
        """How a request failed for good in the last job, if it did."""
        row = self.database.execute(
            "SELECT reason FROM failures WHERE key = ?", (key,)
        ).fetchone()
        return Answer(reason=row[0]) if row else None

    def replay(self, question: Question) -> tuple[dict[str, Answer], Request | None]:
        """A question's answers by key, and the request that lacks one, if any does."""
        answers: dict[str, Answer] = {}
        while (request := question.next(list(answers.values()))) is not None:
            answer = self.get(request.key)
            if answer is None:
                return answers, request
            answers[request.key] = answer
        return answers, None

    def begin(self, key: str, *, prompt: int, completion: int, usd: float) -> int:
        """Writes down that a request is about to be sent.

        Args:
            key: of the request.
            prompt: int. Most tokens that it may be charged for.
            completion: int. Likewise.
            usd: float. Likewise.

        Returns:
            The number of this sending.
        """
        cursor = self.database.execute(
            "INSERT INTO sent (key, at, prompt, completion, usd) VALUES (?, ?, ?, ?, ?)",
            (key, time.time(), prompt, completion, usd),
        )
        return int(cursor.lastrowid or 0)

    def answer(self, sent: int, key: str, answer: Answer, *, usd: float) -> None:
        """Keeps an answer."""
        usage = answer.usage
        with self.transaction():
            self.database.execute(
                "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                (
                    key,
                    _encode(answer),
                    usage.prompt,
                    usage.completion,
                    usage.cached,
                    usd,
                ),
            )
            self.database.execute("DELETE FROM failures WHERE key = ?", (key,))
            if usage.prompt or usage.completion:
                self._settle(sent, ANSWERED, usage.prompt, usage.completion, usd)
            else:
                # An endpoint that reports none is charged what was reserved.
                self.unanswered(sent, ANSWERED, billed=True)

    def unanswered(self, sent: int, outcome: str, *, billed: bool) -> None:
        """Keeps how a sending ended without an answer.

        Args:
            sent: its number.
            outcome: in a word or two, e.g. `"http 429"`.
            billed: bool. Whether it may have been; its reservation then stands.
        """
        if billed:
            self.database.execute(
                "UPDATE sent SET outcome = ? WHERE id = ?", (outcome, sent)
            )
        else:
            self._settle(sent, outcome, 0, 0, 0.0)

    def give_up(self, key: str, reason: str) -> None:
        """Keeps why a request has no answer; a later job asks it again."""
        self.database.execute(
            "INSERT OR REPLACE INTO failures VALUES (?, ?)", (key, reason)
        )

    def totals(self) -> Totals:
        """Sums over every request sent."""
        rows = self.database.execute(
            "SELECT coalesce(outcome, 'under way'), count(*), total(prompt), "
            "total(completion), total(usd) FROM sent GROUP BY outcome"
        ).fetchall()
        return Totals(
            requests=sum(row[1] for row in rows),
            prompt_tokens=int(sum(row[2] for row in rows)),
            completion_tokens=int(sum(row[3] for row in rows)),
            usd=float(sum(row[4] for row in rows)),
            outcomes=Counter({row[0]: row[1] for row in rows}),
        )

    def _settle(
        self, sent: int, outcome: str, prompt: int, completion: int, usd: float
    ) -> None:
        self.database.execute(
            "UPDATE sent SET outcome = ?, prompt = ?, completion = ?, usd = ? "
            "WHERE id = ?",
            (outcome, prompt, completion, usd, sent),
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block is kept, or nothing; within another, part of that."""
        if self.database.in_transaction:
            yield
            return
        self.database.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")


def _encode(answer: Answer) -> bytes:
    """JSON, or for vectors `V`, the dimension and the numbers."""
    if answer.vectors is not None:
        vectors = np.ascontiguousarray(answer.vectors, "<f4")
        size = vectors.shape[1] if vectors.ndim == 2 else 0
        return b"V" + size.to_bytes(4, "little") + vectors.tobytes()
    fields = {"content": answer.content, "finish": answer.finish}
    if answer.top_logprobs:
        fields["top_logprobs"] = list(map(list, answer.top_logprobs))  # type: ignore[assignment]
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode()


def _decode(blob: bytes, usage: Usage) -> Answer:
    if blob[:1] == b"V":
        size = int.from_bytes(blob[1:5], "little")
        vectors = np.frombuffer(blob, "<f4", offset=5)
        return Answer(vectors=vectors.reshape(-1, max(size, 1)), usage=usage)
    fields = json.loads(blob)
    alternatives = tuple(
        (token, value) for token, value in fields.pop("top_logprobs", ())
    )
    return Answer(**fields, top_logprobs=alternatives, usage=usage)
