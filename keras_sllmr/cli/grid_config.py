"""A grid's configuration: domains x backbones x methods x seeds."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator

from keras_sllmr.cli.config import DataConfig
from keras_sllmr.evaluation.compare import CompareSettings
from keras_sllmr.evaluation.heldout import EvaluationSettings
from keras_sllmr.settings import Settings, read_mapping, settings_of
from keras_sllmr.training.method_names import Method
from keras_sllmr.training.settings import TrainSettings

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.]*$"


class MethodConfig(Settings):
    """One column of the grid: a method, perhaps with settings of its own.

    Args:
        method: as `training.train` takes it. Defaults to the column's name.
        label: what tables call it. Defaults to the method's usual name.
        train: settings that this column changes.
    """

    method: Method
    label: str | None = None
    train: dict[str, Any] = Field(default_factory=dict)


class Override(Settings):
    """Training settings of some cells.

    Args:
        domain: of these cells; all by default, as for the next two.
        backbone: of these cells.
        method: of these cells, the column's name.
        train: settings that they change.
    """

    domain: str | None = None
    backbone: str | None = None
    method: str | None = None
    train: dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One training run of a grid, and the name of its result."""

    domain: str
    backbone: str
    method: str
    seed: int

    @property
    def name(self) -> str:
        """E.g. `beauty/deepfm-sllmr-0`."""
        return f"{self.domain}/{self.backbone}-{self.method}-{self.seed}"


class GridConfig(Settings):
    """Experiments over every combination of domain, backbone, method and seed.

    Args:
        name: of the grid and its folder.
        domains: name to the data, see `DataConfig`.
        backbones: names, see `backbones.registry.BACKBONES`.
        methods: column names, or a mapping from them to `MethodConfig`. The first is
            the baseline.
        seeds: of training.
        train: settings of every cell, as `training.train.TrainSettings` takes them.
        overrides: settings of some cells; a later one wins. See `Override`.
        evaluate: as `evaluation.heldout.EvaluationSettings` takes it.
        full_seeds: seeds whose models rank the whole catalogue. Defaults to all, if
            `evaluate.full`.
        keep_models: bool. Keep the trained models, and not the results alone?
    """

    name: str = Field(pattern=_NAME)
    domains: dict[str, DataConfig] = Field(min_length=1)
    backbones: tuple[str, ...] = Field(("deepfm",), min_length=1)
    methods: dict[str, MethodConfig] = Field(min_length=1)
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    train: dict[str, Any] = Field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    evaluate: dict[str, Any] = Field(default_factory=dict)
    full_seeds: tuple[int, ...] | None = None
    keep_models: bool = False

    @field_validator("methods", mode="before")
    @classmethod
    def _named(cls, methods: Any) -> Any:
        if isinstance(methods, list | tuple):
            methods = {name: {} for name in methods}
        if not isinstance(methods, Mapping):
            return methods
        return {
            name: {"method": name, **(column or {})} for name, column in methods.items()
        }

    @field_validator("backbones", "seeds")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("each may be named once")
        return values

    @field_validator("domains", "methods")
    @classmethod
    def _file_names(cls, named: dict[str, Any]) -> dict[str, Any]:
        wrong = [name for name in named if not re.match(_NAME, name)]
        if wrong:
            raise ValueError(
                f"names must be letters, digits, _ and ., got {', '.join(wrong)}"
            )
        return named

    @model_validator(mode="after")
    def _overrides_match(self) -> "GridConfig":
        known: dict[str, Any] = {
            "domain": self.domains,
            "backbone": self.backbones,
            "method": self.methods,
        }
        for override in self.overrides:
            for name, values in known.items():
                value = getattr(override, name)
                if value is not None and value not in values:
                    raise ValueError(
                        f"overrides must be of the grid, which has no {name} {value!r}"
                    )
        return self

    def cells(self) -> Iterator[Cell]:
        """All cells, seed by seed, so that a grid cut short has whole seeds."""
        for seed in self.seeds:
            for domain in self.domains:
                for backbone in self.backbones:
                    for method in self.methods:
                        yield Cell(domain, backbone, method, seed)

    def train_settings(self, cell: Cell) -> TrainSettings:
        """A cell's training settings.

        Raises:
            ConfigError: when a setting breaks its rule.
        """
        values = _merged(self.train, self.methods[cell.method].train)
        for override in self.overrides:
            matches = (
                getattr(override, name) in (None, getattr(cell, name))
                for name in ("domain", "backbone", "method")
            )
            if all(matches):
                values = _merged(values, override.train)
        values = _merged(
            values, {"seed": cell.seed, "backbone": {"name": cell.backbone}}
        )
        return settings_of(TrainSettings, values, f"train of {cell.name}")

    def evaluation_settings(self, cell: Cell) -> EvaluationSettings:
        """A cell's evaluation settings."""
        values = dict(self.evaluate)
        if self.full_seeds is not None:
            values["full"] = cell.seed in self.full_seeds
        return settings_of(EvaluationSettings, values, "evaluate")

    @property
    def compare(self) -> CompareSettings:
        """How the results are compared: with the first method."""
        settings = settings_of(EvaluationSettings, self.evaluate, "evaluate").compare
        return settings.model_copy(update={"baseline": next(iter(self.methods))})


def load_grid(path: str | os.PathLike[str], *, data: Path | None = None) -> GridConfig:
    """Reads a grid's YAML file, and checks the settings of every cell.

    Args:
        path: the file.
        data: the folder that relative `import.path`s of the domains are below.

    Raises:
        ConfigError: when it is missing, not YAML, or a setting breaks its rule.
    """
    path = Path(path)
    config = settings_of(GridConfig, read_mapping(path, what="grid"), path.name)
    if data is not None:
        config = config.model_copy(
            update={
                "domains": {
                    name: _below(domain, data)
                    for name, domain in config.domains.items()
                }
            }
        )
    for cell in config.cells():
        config.train_settings(cell)
        config.evaluation_settings(cell)
    return config


def _below(domain: DataConfig, folder: Path) -> DataConfig:
    if domain.data.path is None:
        return domain
    data = domain.data.model_copy(update={"path": folder / domain.data.path})
    return domain.model_copy(update={"data": data})


def _merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes, mapping by mapping."""
    merged = dict(values)
    for name, change in changes.items():
        before = merged.get(name)
        if isinstance(before, Mapping) and isinstance(change, Mapping):
            change = _merged(before, change)
        merged[name] = change
    return merged
