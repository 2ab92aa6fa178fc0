"""Files between the stages of a job, which all its workers see."""

import functools
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_sllmr.io.atomic import replace_file


@dataclass(frozen=True)
class Scratch:
    """A folder of named values; the last few that were read stay in memory.

    Args:
        folder: that goes when the job ends.

    Example:
        >>> import tempfile
        >>> scratch = Scratch(Path(tempfile.mkdtemp()))
        >>> scratch.keep("ids", ["a", "b"])
        >>> scratch.kept("ids")
        ['a', 'b']
    """

    folder: Path

    def keep(self, name: str, value: Any) -> None:
        """Writes a value, whole or not at all."""
        with replace_file(self.folder / name) as beside:
            beside.write_bytes(pickle.dumps(value))

    def kept(self, name: str) -> Any:
        """Reads a value, which must not be changed."""
        return _read(self.folder / name)


# A worker does many parts, and needs what is of all items for each.
@functools.lru_cache(maxsize=4)
def _read(path: Path) -> Any:
    return pickle.loads(path.read_bytes())
