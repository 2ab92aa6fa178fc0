"""A result: one model's values on every test row, in one file."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.atomic import replace_file

_VERSION = 1
#: What tells results apart, and what comparisons pair and group them by.
IDENTITY = ("domain", "backbone", "method", "seed")


@dataclass(frozen=True, eq=False)
class Result:
    """One model's values on every test row, and what they are of.

    All metrics are functions of it. The sampled rows are the test rows, then as many
    rows with a sampled negative in place of the positive.

    Args:
        about: `domain`, `backbone`, `method` and `seed`; `rows`, a hash that results on
            the same rows share; `k` of the ranking metrics; and anything else worth
            keeping, as JSON. `full_sample`, where it is there, is the number of items
            that each row was ranked against in place of the catalogue.
        users: int [rows]. The user of each test row.
        slices: bool [rows] by name.
        pools: bool [2 * rows] by name: slices of the sampled rows alone.
        logits: float32 [2 * rows], of the sampled rows.
        ranks: `above`, `ties` and `candidates` of the full ranking, int [rows] each;
            empty without one.
    """

    about: dict[str, Any]
    users: np.ndarray
    slices: dict[str, np.ndarray]
    pools: dict[str, np.ndarray]
    logits: np.ndarray
    ranks: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Domain, backbone, method and seed."""
        return tuple(self.about[name] for name in IDENTITY)

    @property
    def labels(self) -> np.ndarray:
        """1 or 0 a sampled row."""
        return np.repeat([1, 0], len(self.users))

    @property
    def full_sample(self) -> int | None:
        """Items drawn for each row's ranking; none when that is of the catalogue."""
        return self.about.get("full_sample") if self.ranks else None

    def sampled(self) -> dict[str, np.ndarray]:
        """All slices as masks over the sampled rows."""
        return {n: np.tile(m, 2) for n, m in self.slices.items()} | self.pools

    def counts(self) -> dict[str, dict[str, int]]:
        """Rows and users of each slice."""
        users = {name: self.users[mask] for name, mask in self.slices.items()}
        both = np.tile(self.users, 2)
        users |= {name: both[mask] for name, mask in self.pools.items()}
        return {
            name: {"rows": len(found), "users": len(np.unique(found))}
            for name, found in users.items()
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Writes the file, whole or not at all."""
        masks = {f"slice {name}": mask for name, mask in self.slices.items()}
        masks |= {f"pool {name}": mask for name, mask in self.pools.items()}
        about = {**self.about, "result_version": _VERSION, "masks": list(masks)}
        arrays = {
            "about": np.array(json.dumps(about, sort_keys=True, default=str)),
            "users": self.users.astype(np.int32),
            "logits": self.logits.astype(np.float32),
            # By number: a slice's name may hold what a file's must not.
            **{f"mask{k}": np.packbits(mask) for k, mask in enumerate(masks.values())},
            **{name: rank.astype(np.int32) for name, rank in self.ranks.items()},
        }
        with replace_file(path) as beside, open(beside, "wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Result:
        """Reads a file that `write` wrote.

        Raises:
            StoreError: when it is missing, damaged, or no result.
        """
        if not Path(path).exists():
            raise StoreError(f"No result at {path}. Run `sllmr evaluate`.")
        try:
            with np.load(path) as file:
                arrays = dict(file)
            about = json.loads(str(arrays.pop("about")))
            if about.pop("result_version") != _VERSION:
                raise ValueError("another version")
            users, logits = arrays.pop("users"), arrays.pop("logits")
            masks: dict[str, dict[str, np.ndarray]] = {"slice": {}, "pool": {}}
            for k, named in enumerate(about.pop("masks")):
                kind, name = named.split(" ", 1)
                rows = len(users) * (1 if kind == "slice" else 2)
                bits = np.unpackbits(arrays.pop(f"mask{k}"), count=rows)
                masks[kind][name] = bits.astype(bool)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise StoreError(
                f"{path} is no result of this version, or damaged: {error}. Run "
                "`sllmr evaluate` again."
            ) from error
        return cls(about, users, masks["slice"], masks["pool"], logits, arrays)


def find_results(paths: Iterable[str | os.PathLike[str]]) -> list[Result]:
    """Reads results from files and from folders, whatever is below them.

    Args:
        paths: `.npz` files, and folders such as a run's or a grid's.

    Raises:
        ConfigError: when there is none, or two are of the same domain, backbone,
            method and seed.
        StoreError: when a file is none, or damaged.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        files += sorted(path.rglob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise ConfigError(
            "There must be results to compare, `.npz` files that `sllmr run`, `grid` or "
            f"`evaluate` wrote. Received: none below {', '.join(map(str, paths))}"
        )
    found: dict[tuple[Any, ...], tuple[Path, Result]] = {}
    for file in dict.fromkeys(files):
        result = Result.read(file)
        if result.identity in found:
            raise ConfigError(
                "Results must differ in domain, backbone, method or seed. Received: "
                f"{file} and {found[result.identity][0]}, both of "
                f"{' '.join(map(str, result.identity))}. Leave one out, or evaluate "
                "them in one `sllmr evaluate`, which tells them apart by their folders."
            )
        found[result.identity] = (file, result)
    return [result for _, result in found.values()]
