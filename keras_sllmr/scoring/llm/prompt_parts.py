"""What all prompt templates share: files, Jinja2 in a sandbox, quoted texts."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.texts import clean_text
from keras_sllmr.settings import AnySettings, read_mapping, settings_of

_QUOTE = json.JSONEncoder(ensure_ascii=False).encode


def read_template(
    name_or_path: str | os.PathLike[str], folder: Path, model: type[AnySettings]
) -> AnySettings:
    """Reads a template that comes with the package, or a YAML file.

    Args:
        name_or_path: the name of a file in `folder`; else the path of a file that ends
            in `.yaml` or `.yml`.
        folder: of the packaged templates.
        model: the settings' class.

    Raises:
        ConfigError: when there is none, or it breaks a rule.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        names = sorted(file.stem for file in folder.glob("*.yaml"))
        if str(name_or_path) not in names:
            raise ConfigError(
                f"`template` must be one of {', '.join(names)} or a .yaml file. "
                f"Received: {str(name_or_path)!r}"
            )
        path = folder / f"{name_or_path}.yaml"
    return settings_of(model, read_mapping(path, what="template"), path.name)


def compiled(
    source: str, *, part: str, name: str, known: Collection[str]
) -> tuple[Template, set[str]]:
    """A part of a template, ready to render, and the variables that it uses.

    Args:
        source: str, Jinja2.
        part: str. What it is of the template, for messages.
        name: str. The template's, for messages.
        known: variables that it may use.

    Raises:
        ConfigError: when it is no Jinja2, or uses other variables.
    """
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    # The same question must give the same prompt, or it is paid for twice.
    del environment.globals["lipsum"], environment.filters["random"]
    try:
        used = meta.find_undeclared_variables(environment.parse(source))
        template = environment.from_string(source)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"`{part}` of the template {name!r} must be valid Jinja2. "
            f"Received, in its line {error.lineno}: {error.message}"
        ) from error
    used -= set(environment.globals)
    if unknown := used - set(known):
        raise ConfigError(
            f"`{part}` of the template {name!r} may use "
            f"{', '.join(sorted(known))}. Received: {', '.join(sorted(unknown))}"
        )
    return template, used


def chat_messages(
    system: Template | None, user: Template, values: Mapping[str, Any]
) -> list[dict[str, str]]:
    """The messages, `role` and `content` each; none of a system without text."""
    messages = [{"role": "user", "content": user.render(values)}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system.render(values)})
    return messages


def quoted(text: str, *, max_chars: int) -> str:
    """A text, cleaned, as a JSON string: it can't end its own quotes."""
    return _QUOTE(clean_text(text, max_chars=max_chars))
