"""Which stages of a run are up to date, by content hashes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import keras_sllmr
from keras_sllmr.errors import StoreError
from keras_sllmr.io.atomic import read_json, write_json
from keras_sllmr.io.hashing import file_sha256, fingerprint
from keras_sllmr.store.manifest import FILE_NAME, verify_files

#: Called as a stage begins, with its name and whether it is skipped.
Announce: TypeAlias = Callable[[str, bool], None]


class StageLedger:
    """Runs a stage unless its inputs, settings and output are what they were.

    Args:
        folder: the run's folder; records go to `stages/<name>.json` in it.
        force: bool. Run every stage again.
    """

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        self.folder = folder / "stages"
        self.force = force
        #: name, seconds and whether it was skipped, of each stage in order.
        self.stages: list[dict[str, Any]] = []

    def run(
        self,
        name: str,
        inputs: dict[str, Any],
        output: Path,
        make: Callable[[], object],
        *,
        announce: Announce = lambda name, skipped: None,
    ) -> None:
        """Makes `output` with `make()`, or skips it.

        Args:
            name: of the stage.
            inputs: fingerprints of inputs and all settings.
            output: a folder with a manifest, or a file.
            make: makes it.
            announce: called with the name and whether it is skipped.
        """
        key = fingerprint([keras_sllmr.__version__, inputs])
        record_file = self.folder / f"{name}.json"
        record = read_json(record_file) if record_file.exists() else {}
        current = record.get("key") == key and record.get("output") == _hash(output)
        skipped = current and not self.force
        announce(name, skipped)
        if not skipped:
            started = time.monotonic()
            make()
            seconds = round(time.monotonic() - started, 2)
            record = {"key": key, "output": _hash(output), "seconds": seconds}
            write_json(record_file, record)
        self.stages.append(
            {"name": name, "seconds": record["seconds"], "skipped": skipped}
        )


def _hash(output: Path) -> str | None:
    if (output / FILE_NAME).exists():
        manifest = read_json(output / FILE_NAME)
        try:
            verify_files(output, manifest)
        except StoreError:
            return None  # damaged: the stage makes it again
        return str(manifest["fingerprint"])
    return file_sha256(output) if output.is_file() else None
