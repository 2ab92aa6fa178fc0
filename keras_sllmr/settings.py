"""The base of all typed settings, and how they are read: unknown names are refused."""

import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from keras_sllmr.errors import ConfigError


class Settings(BaseModel):
    """Typed, immutable settings; documented field by field in the subclasses."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


AnySettings = TypeVar("AnySettings", bound=BaseModel)


def settings_of(
    model: type[AnySettings], values: dict[str, Any], where: str
) -> AnySettings:
    """Builds typed settings; a wrong one is named with its rule.

    Args:
        model: the settings' class.
        values: by name.
        where: str. What the settings belong to, for the message.

    Raises:
        ConfigError: listing every setting that breaks its rule.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join([where, *map(str, problem['loc'])])}: {problem['msg']}. "
            f"Received: {problem['input']!r}"
            for problem in error.errors()
        )
        raise ConfigError(problems) from error


def read_mapping(path: str | os.PathLike[str], *, what: str) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Args:
        path: the file.
        what: str. What it is, for the message, e.g. `"configuration"`.

    Raises:
        ConfigError: when it is missing, unreadable, not YAML or no mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"No such {what}: {path}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path} must hold a mapping of settings. Received: {values!r}"
        )
    return values
