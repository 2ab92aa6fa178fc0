"""Batches in the ledger: what was handed in, and what is still to come back of it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from keras_sllmr.scoring.llm.caps import Reservation
from keras_sllmr.scoring.llm.ledger import Ledger


@dataclass(frozen=True)
class OpenBatch:
    """A batch that was handed in, or was about to be.

    Args:
        number: int. In the ledger.
        tag: str. What it is found by at the endpoint before its name is known.
        endpoint: str. Where it is.
        name: str. The endpoint's id; none until it is known.
    """

    number: int
    tag: str
    endpoint: str
    name: str | None


@dataclass(frozen=True)
class Sending:
    """A request under way in a batch.

    Args:
        number: int. Of the sending, in the ledger.
        key: str. Of the request.
        prompt: int. Tokens reserved.
        completion: int. Likewise.
    """

    number: int
    key: str
    prompt: int
    completion: int


class BatchLedger:
    """The batches of a ledger.

    Args:
        ledger: the ledger.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> batches = BatchLedger(Ledger(Path(tempfile.mkdtemp()) / "ledger.sqlite"))
        >>> batch = batches.open("tag", "openai", [("key", Reservation(10, 5))])
        >>> batches.holds("key")
        True
        >>> batches.withdraw(batch.number)
        >>> batches.holds("key"), batches.opened()
        (False, [])
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger, self._database = ledger, ledger.database

    def open(
        self, tag: str, endpoint: str, requests: Iterable[tuple[str, Reservation]]
    ) -> OpenBatch:
        """Writes down that a batch is about to be created.

        Args:
            tag: str. Unique.
            endpoint: str. Where.
            requests: key and reservation of each.
        """
        with self.ledger.transaction():
            cursor = self._database.execute(
                "INSERT INTO batches (tag, endpoint, open) VALUES (?, ?, 1)",
                (tag, endpoint),
            )
            number, now = int(cursor.lastrowid or 0), time.time()
            for key, reserved in requests:
                self._database.execute("DELETE FROM failures WHERE key = ?", (key,))
                self._database.execute(
                    "INSERT INTO sent (key, at, prompt, completion, usd, batch) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (
                        key,
                        now,
                        reserved.prompt,
                        reserved.completion,
                        reserved.usd,
                        number,
                    ),
                )
        return OpenBatch(number, tag, endpoint, None)

    def name(self, number: int, name: str) -> None:
        """Keeps the endpoint's id of a batch."""
        self._database.execute(
            "UPDATE batches SET name = ? WHERE id = ?", (name, number)
        )

    def opened(self) -> list[OpenBatch]:
        """The batches that are not collected yet."""
        rows = self._database.execute(
            "SELECT id, tag, endpoint, name FROM batches WHERE open ORDER BY id"
        )
        return [OpenBatch(*row) for row in rows.fetchall()]

    def under_way(self, number: int, key: str | None = None) -> list[Sending]:
        """A batch's requests that have not ended; all, or those of one key."""
        query = (
            "SELECT id, key, prompt, completion FROM sent "
            "WHERE batch = ? AND outcome IS NULL"
        )
        if key is None:
            rows = self._database.execute(query, (number,))
        else:
            rows = self._database.execute(f"{query} AND key = ?", (number, key))
        return [Sending(*row) for row in rows.fetchall()]

    def holds(self, key: str) -> bool:
        """Whether a request is under way in some batch."""
        query = "SELECT 1 FROM sent WHERE key = ? AND batch > 0 AND outcome IS NULL"
        return self._database.execute(query, (key,)).fetchone() is not None

    def first(self) -> int:
        """The first sending under way; the next one if there is none."""
        row = self._database.execute(
            "SELECT min(id) FROM sent WHERE batch > 0 AND outcome IS NULL"
        ).fetchone()
        if row[0] is None:
            row = self._database.execute("SELECT coalesce(max(id), 0) + 1 FROM sent")
            row = row.fetchone()
        return int(row[0])

    def tries(self, key: str, since: int) -> int:
        """How often a request was put into a batch, from a sending on."""
        query = "SELECT count(*) FROM sent WHERE key = ? AND batch > 0 AND id >= ?"
        return int(self._database.execute(query, (key, since)).fetchone()[0])

    def close(self, number: int) -> None:
        """Keeps that a batch is collected."""
        self._database.execute("UPDATE batches SET open = 0 WHERE id = ?", (number,))

    def withdraw(self, number: int) -> None:
        """Forgets the requests of a batch that the endpoint never took."""
        with self.ledger.transaction():
            self._database.execute(
                "DELETE FROM sent WHERE batch = ? AND outcome IS NULL", (number,)
            )
            self.close(number)
