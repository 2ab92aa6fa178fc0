"""Runs stages in this process; what waits for its key waits on disk."""

import contextlib
import os
import pickle
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_sllmr.errors import StoreError
from keras_sllmr.pipeline.stage import Stage


class InProcess:
    """Goes through the units, then through the keys, one at a time.

    Memory holds one unit and one key; what `split` gives is in a temporary SQLite file.

    Args:
        folder: where that file is made. Defaults to the system's temporary folder.
        told: called with the stage's name as it begins. Defaults to nothing.

    Example:
        >>> stage = Stage("squares", [3, 4], lambda number, unit: unit[0] ** 2)
        >>> InProcess().run(stage)
        {0: 9, 1: 16}
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        told: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.folder, self.told = folder, told

    def run(self, stage: Stage) -> dict[int, Any]:
        """See `Runner.run`.

        Raises:
            StoreError: when the disk is full.
        """
        self.told(stage.name)
        if stage.split is None:
            return {n: stage.combine(n, [unit]) for n, unit in enumerate(stage.units)}
        with _spill(self.folder) as spill:
            for number, unit in enumerate(stage.units):
                for key, value in stage.parts(number, unit):
                    spill.execute(
                        "INSERT INTO part VALUES (?, ?)", (key, pickle.dumps(value))
                    )
            spill.execute("CREATE INDEX by_key ON part (key)")
            keys = [key for (key,) in spill.execute("SELECT DISTINCT key FROM part")]
            return {key: stage.combine(key, _parts(spill, key)) for key in sorted(keys)}


def _parts(spill: sqlite3.Connection, key: int) -> list[Any]:
    found = spill.execute("SELECT value FROM part WHERE key = ? ORDER BY rowid", (key,))
    return [pickle.loads(value) for (value,) in found]


@contextlib.contextmanager
def _spill(
    folder: str | os.PathLike[str] | None,
) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(prefix=".spill-", dir=folder) as scratch:
        spill = sqlite3.connect(Path(scratch) / "parts.sqlite", isolation_level=None)
        try:
            # Nothing is worth keeping of a stage that was cut short.
            for setting in ("journal_mode = OFF", "synchronous = OFF"):
                spill.execute(f"PRAGMA {setting}")
            spill.execute("CREATE TABLE part (key INTEGER, value BLOB)")
            yield spill
        except sqlite3.Error as error:
            raise StoreError(
                f"Could not keep what a stage splits in {scratch}: {error}. Free some "
                "space, or name another folder for temporary files."
            ) from error
        finally:
            spill.close()
