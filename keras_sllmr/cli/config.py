"""A run's configuration: one YAML file, one typed section a stage."""

import os
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError

from keras_sllmr.errors import ConfigError
from keras_sllmr.settings import Settings

AnySettings = TypeVar("AnySettings", bound=Settings)


class ImportConfig(Settings):
    """Where the data come from.

    Args:
        format: `tables`, `amazon`, `movielens` or `steam`.
        path: file or folder; none for the embedded MovieLens-100K.
        options: as the importer's `read_*` function takes them.
    """

    format: Literal["tables", "amazon", "movielens", "steam"] = "tables"
    path: Path | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class ScoreConfig(Settings):
    """The teacher and its candidates.

    Args:
        teacher: `embedded`, the only one so far: MiniLM mixed with TF-IDF.
        weights: of MiniLM and of TF-IDF.
        candidates: as `scoring.candidates.CandidateSettings` takes them.
    """

    teacher: Literal["embedded"] = "embedded"
    weights: tuple[float, float] = (1.0, 1.0)
    candidates: dict[str, Any] = Field(default_factory=dict)


class ExportConfig(Settings):
    """What is exported.

    Args:
        method: whose model.
        folder: folder of all exports.
        version: int. A run replaces its own earlier export of this version.
    """

    method: str = "sllmr"
    folder: Path = Path("saved_models")
    version: int = Field(1, ge=1)


class RunConfig(Settings):
    """A whole run, from interactions to an export.

    Args:
        name: of the run and its export.
        seed: default seed of every stage.
        methods: trained and compared, the baseline first.
        data: see `ImportConfig`; the YAML key is `import`.
        score: see `ScoreConfig`.
        train: as `training.train.TrainSettings` takes it.
        evaluate: as `evaluation.heldout.EvaluationSettings` takes it.
        export: see `ExportConfig`.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    seed: int = 0
    methods: tuple[Literal["none", "sllmr"], ...] = ("none", "sllmr")
    data: ImportConfig = Field(ImportConfig(), alias="import")
    score: ScoreConfig = ScoreConfig()
    train: dict[str, Any] = Field(default_factory=dict)
    evaluate: dict[str, Any] = Field(default_factory=dict)
    export: ExportConfig = ExportConfig()


def settings_of(
    model: type[AnySettings], values: dict[str, Any], where: str
) -> AnySettings:
    """Builds typed settings; a wrong one is named with its rule.

    Raises:
        ConfigError: listing every setting that breaks its rule.
    """
    try:
        return model(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join([where, *map(str, problem['loc'])])}: {problem['msg']}. "
            f"Received: {problem['input']!r}"
            for problem in error.errors()
        )
        raise ConfigError(problems) from error


def load_config(path: str | os.PathLike[str], *, data: Path | None = None) -> RunConfig:
    """Reads a run's YAML file.

    Args:
        path: the file.
        data: replaces `import.path`.

    Raises:
        ConfigError: when it is missing, not YAML, or a setting breaks its rule.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"No such configuration: {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} must hold a mapping of settings. Received: {values!r}"
        )
    if data is not None:
        section = values.get("import") or {}
        values["import"] = {**section, "path": str(data)}
    return settings_of(RunConfig, values, path.name)
