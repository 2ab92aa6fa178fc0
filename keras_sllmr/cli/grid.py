"""`sllmr grid`: every cell of a grid trained and evaluated, with bounded parallelism."""

import functools
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from keras_sllmr.cli import stages
from keras_sllmr.cli.data_stages import DataStages
from keras_sllmr.cli.grid_config import Cell, GridConfig
from keras_sllmr.cli.ledger import Announce, StageLedger
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.evaluation.heldout import TestRows
from keras_sllmr.evaluation.result import Result
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.io.lock import exclusive
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.training.methods import label_of, used_settings
from keras_sllmr.training.offline_inputs import OfflineInputs, needed, opened

#: Called as a cell ends, with its result, or with what went wrong.
CellDone = Callable[[Cell, Result | None, str], None]


class Grid:
    """A grid's folder: data by domain, one result file a cell.

    A cell whose result is there, of the same data and settings, is not run again; one
    that was killed goes on after its last whole epoch.

    Args:
        config: see `GridConfig`.
        folder: gets `data/<domain>/` and `results/<domain>/<cell>.npz`.
    """

    def __init__(self, config: GridConfig, folder: Path) -> None:
        self.config, self.folder = config, folder
        # Opening a store takes seconds, and a grid may have hundreds of cells.
        self._data_hashes = functools.cache(self._hash_data)

    def prepare(self, announce: Announce = lambda name, skipped: None) -> None:
        """Makes what is missing of the domains' stores, text vectors and scores."""
        for name, domain in self.config.domains.items():
            folder = self.folder / "data" / name

            def of_domain(stage: str, skipped: bool, name: str = name) -> None:
                announce(f"{name}: {stage}", skipped)

            ledger = StageLedger(folder)
            data = DataStages(domain, folder, ledger, of_domain, seed=0)
            TestRows(data.import_store(), self._rows(name))
            data.make(self._needed(name))

    def _rows(self, domain: str) -> Any:
        cell = next(cell for cell in self.config.cells() if cell.domain == domain)
        return self.config.evaluation_settings(cell)

    def result_file(self, cell: Cell) -> Path:
        """Where a cell's result is."""
        return self.folder / "results" / f"{cell.name}.npz"

    def result(self, cell: Cell) -> Result | None:
        """A cell's result, if it is there and of these data and settings."""
        path = self.result_file(cell)
        if not path.exists():
            return None
        try:
            result = Result.read(path)
        except StoreError:
            return None  # damaged: the cell runs again
        return result if result.about.get("cell") == self._key(cell) else None

    def reuse(self, folder: Path) -> list[str]:
        """Takes results of other grids that are of the same data and settings.

        A column may have been called otherwise there.

        Args:
            folder: a grid's, or one of several.

        Returns:
            Names of the cells that got one.

        Raises:
            StoreError: when a file is no result.
        """
        found: dict[str, Result] = {}
        for path in sorted(folder.rglob("results/**/*.npz")):
            result = Result.read(path)
            found.setdefault(str(result.about.get("cell")), result)
        taken = []
        for cell in self.config.cells():
            key = self._key(cell)
            if key not in found or self.result(cell) is not None:
                continue
            column = self.config.methods[cell.method]
            label = column.label or label_of(cell.method)
            about = {**found[key].about, "method": cell.method, "label": label}
            replace(found[key], about=about).write(self.result_file(cell))
            taken.append(cell.name)
        return taken

    def run_cell(self, cell: Cell) -> Result:
        """Trains and evaluates one cell, and writes its result.

        Raises:
            ConfigError: when the grid has no such cell.
            StoreError: when its data are not prepared, or it runs elsewhere.
        """
        if cell not in self.config.cells():
            raise ConfigError(f"The grid has no cell {cell.name!r}.")
        split = LeaveOneOut(FeatureStore(self._data(cell) / "store"))
        column = self.config.methods[cell.method]
        model = self.folder / "models" / cell.name
        with exclusive(self.result_file(cell)):
            trained = stages.train_method(
                column.method,
                split,
                model,
                self.config.train_settings(cell),
                inputs=self._inputs(cell, split.store),
            )
            history = trained.history
            stages.evaluate_method(
                trained,
                TestRows(split, self.config.evaluation_settings(cell)),
                self.result_file(cell),
                domain=cell.domain,
                method=cell.method,
                label=column.label,
                cell=self._key(cell),
                best_epoch=history["best_epoch"],
                epochs=len(history["epochs"]),
                rows_per_second=history["rows_per_second"],
                validation=history["epochs"][history["best_epoch"] - 1][
                    "val_auc_sampled"
                ],
            )
            if not self.config.keep_models:
                shutil.rmtree(model)
        return Result.read(self.result_file(cell))

    def _data(self, cell: Cell) -> Path:
        return self.folder / "data" / cell.domain

    def _inputs(self, cell: Cell, store: FeatureStore) -> OfflineInputs:
        """What the cell's method reads, of what the domain has."""
        method = self.config.methods[cell.method].method
        names = needed(method, self.config.train_settings(cell))
        return opened({name: self._data(cell) / name for name in names}, store)

    def _key(self, cell: Cell) -> str:
        store, hashes = self._data_hashes(cell.domain)
        method = self.config.methods[cell.method].method
        settings = self.config.train_settings(cell)
        return fingerprint(
            [
                method,
                store,
                {name: hashes[name] for name in needed(method, settings)},
                used_settings(method, settings),
                self.config.evaluation_settings(cell).what(pairs=method == "llm_cf"),
            ]
        )

    def _hash_data(self, domain: str) -> tuple[str, dict[str, str | None]]:
        """The fingerprints of a domain's store and of what its methods read."""
        data = self.folder / "data" / domain
        store = FeatureStore(data / "store")
        names = self._needed(domain)
        found = opened({name: data / name for name in names}, store)
        return store.fingerprint, found.fingerprints

    def _needed(self, domain: str) -> set[str]:
        """Names of what the methods of a domain's cells read."""
        return {
            name
            for cell in self.config.cells()
            if cell.domain == domain
            for name in needed(
                self.config.methods[cell.method].method,
                self.config.train_settings(cell),
            )
        }


def run_cells(
    grid: Grid,
    command: Callable[[Cell], list[str]],
    *,
    jobs: int = 1,
    done: CellDone = lambda cell, result, problem: None,
) -> dict[str, str]:
    """Runs the cells that have no result yet, each in a process of its own.

    Args:
        grid: prepared.
        command: of the process that runs a cell, e.g. `sllmr grid … --cell NAME`.
        jobs: int. Processes at a time, which share the cores. Defaults to `1`.
        done: called as cells end, in this thread's pool.

    Returns:
        What went wrong, by the names of the cells that failed.

    Raises:
        ConfigError: when `jobs` is not positive.
    """
    if jobs < 1:
        raise ConfigError(f"`jobs` must be at least 1. Received: jobs={jobs}")
    problems: dict[str, str] = {}
    running: set[subprocess.Popen[Any]] = set()
    stopping = threading.Event()

    def run(cell: Cell) -> None:
        if stopping.is_set():
            return
        problem = _run_apart(grid, command(cell), cell, jobs, running)
        result = grid.result(cell)
        if result is None and not stopping.is_set():
            problems[cell.name] = problem
        done(cell, result, problem)

    cells = []
    for cell in grid.config.cells():
        result = grid.result(cell)
        if result is None:
            cells.append(cell)
        else:
            done(cell, result, "")
    with ThreadPoolExecutor(jobs) as pool:
        try:
            list(pool.map(run, cells))
        except BaseException:
            stopping.set()
            for process in list(running):
                process.terminate()
            raise
    return problems


def _run_apart(
    grid: Grid,
    command: list[str],
    cell: Cell,
    jobs: int,
    running: set[subprocess.Popen[Any]],
) -> str:
    """Runs a cell's process to its end; returns the last line of its log."""
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    log = grid.folder / "logs" / f"{cell.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            # Closes when this process ends, however: what `end_with_parent` waits for.
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "TF_NUM_INTRAOP_THREADS": threads,
                "TF_NUM_INTEROP_THREADS": threads,
            },
        )
        running.add(process)
        try:
            process.wait()
        finally:
            running.discard(process)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return f"{lines[-1] if lines else f'exit code {process.returncode}'} (log: {log})"
