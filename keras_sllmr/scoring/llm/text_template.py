"""Prompts that ask for a text: what a user prefers, what an item is, why a choice."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.scoring.llm.prompt_parts import (
    chat_messages,
    compiled,
    quoted,
    read_template,
)
from keras_sllmr.scoring.llm.ratings import Ratings
from keras_sllmr.scoring.llm.request import Answer
from keras_sllmr.settings import Settings

_FOLDER = Path(__file__).parent / "templates" / "texts"

#: What a prompt is about; `label` is a bool, `history` a list of texts.
Values: TypeAlias = Mapping[str, str | list[str] | bool]

_SAMPLE: Values = {
    "history": ["event 1"],
    "item": "item",
    "chain": "chain",
    "label": True,
}


class TextTemplateSettings(Settings):
    """What such a template's YAML file holds.

    Args:
        name: str.
        words: int. Most words asked for.
        system: str, Jinja2. The system message; empty for none.
        user: str, Jinja2. The user message.
        max_chars: int. Longest text shown; longer ones are cut.
        variables: words of the template's own that can be set, with their defaults,
            e.g. `factors`.
        ratings: what the text must hold, when it rates another. Defaults to none: any
            text will do.
    """

    name: str = Field(min_length=1)
    words: int = Field(150, ge=1)
    system: str
    user: str = Field(min_length=1)
    max_chars: int = Field(200, ge=8)
    variables: dict[str, str] = Field(default_factory=dict)
    ratings: Ratings | None = None


class TextTemplate:
    """A prompt for a text; texts are values in it, never run as a template.

    The Jinja2 variables are `history`, a list of texts with the oldest first, `item`
    and `chain`, texts, and `label`, whether the item was chosen; further `words` and
    the template's own. Texts are cleaned (see `clean_text`) and come as quoted JSON
    strings, so that no text can end its own quotes.

    Args:
        settings: the prompt's parts.
        variables: in place of the template's own. Defaults to these.

    Raises:
        ConfigError: when a part is no Jinja2, can't be rendered or is about nothing; or
            on a variable that the template does not have.

    Example:
        >>> template = TextTemplate.load("item_facts", variables={"factors": "colour"})
        >>> sorted(template.needs)
        ['item']
        >>> print(template.render({"item": "Shampoo"})[1]["content"].splitlines()[1])
        "Shampoo"
    """

    def __init__(
        self,
        settings: TextTemplateSettings,
        *,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.variables = {**settings.variables, **(variables or {})}
        if foreign := sorted(self.variables.keys() - settings.variables.keys()):
            raise ConfigError(
                f"`variables` of the template {settings.name!r} are "
                f"{', '.join(sorted(settings.variables)) or 'none'}. "
                f"Received: {', '.join(foreign)}"
            )
        self.settings = settings
        known = [*_SAMPLE, "words", *settings.variables]
        self._system, in_system = compiled(
            settings.system, part="system", name=self.name, known=known
        )
        self._user, in_user = compiled(
            settings.user, part="user", name=self.name, known=known
        )
        #: what `render` must be given.
        self.needs = frozenset(_SAMPLE) & (in_system | in_user)
        self._try_out()

    @classmethod
    def load(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        variables: Mapping[str, str] | None = None,
    ) -> "TextTemplate":
        """Reads a template that comes with the package, or a YAML file.

        Args:
            name_or_path: `"preferences"`, `"item_facts"`, `"chain_of_thought"` or
                `"judge_chain"`; else the path of a file that ends in `.yaml` or `.yml`.
            variables: as above.

        Raises:
            ConfigError: when there is none, or it breaks a rule.
        """
        settings = read_template(name_or_path, _FOLDER, TextTemplateSettings)
        return cls(settings, variables=variables)

    @property
    def name(self) -> str:
        """The template's name."""
        return self.settings.name

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that the file holds, with the variables as they are set."""
        return fingerprint({**self.settings.model_dump(), "variables": self.variables})

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema of the text; none of plain text."""
        ratings = self.settings.ratings
        return ratings.answer_schema if ratings else None

    def require(self, values: Values) -> None:
        """Raises a `ConfigError` unless the prompt can be rendered with these."""
        if missing := sorted(self.needs - values.keys()):
            raise ConfigError(
                f"The template {self.name!r} is about {', '.join(missing)} too. "
                f"Received: {', '.join(sorted(values)) or 'nothing'}. Use another one."
            )

    def render(self, values: Values) -> list[dict[str, str]]:
        """The chat messages.

        Args:
            values: by name; those in `needs` at least.

        Raises:
            ConfigError: when one is missing.
        """
        self.require(values)
        shown = {name: self._shown(values[name]) for name in self.needs}
        system = self._system if self.settings.system else None
        fixed = {"words": self.settings.words, **self.variables}
        return chat_messages(system, self._user, fixed | shown)

    def read(self, answer: Answer) -> tuple[str, str]:
        """The text of an answer, "" if it is of no use, and the problem with it.

        The problem is an answer's failure, `"refused"`, `"empty"`, `"malformed"` for
        no ratings where they are asked for, or `"truncated"` for one that was cut off
        at the limit of tokens: plain text is then kept as far as it goes.
        """
        if answer.reason or answer.finish == "content_filter":
            return "", answer.reason or "refused"
        # Lone surrogates, which JSON can hold, can't be written anywhere.
        text = answer.said.encode("utf-8", "replace").decode().strip()
        cut_off = "truncated" if answer.finish == "length" else ""
        ratings = self.settings.ratings
        if text and ratings and ratings.read(text) is None:
            return "", cut_off or "malformed"
        return text, cut_off or ("" if text else "empty")

    def _shown(self, value: str | list[str] | bool) -> str | list[str] | bool:
        most = self.settings.max_chars
        if isinstance(value, list):
            return [quoted(text, max_chars=most) for text in value]
        return quoted(value, max_chars=most) if isinstance(value, str) else value

    def _try_out(self) -> None:
        """Finds at loading what would fail in the midst of a job."""
        if not self.needs:
            raise ConfigError(
                f"The template {self.name!r} must show one of {', '.join(_SAMPLE)}. "
                "Received: one that is about nothing"
            )
        try:
            for label in (True, False):
                self.render({**_SAMPLE, "label": label})
        except Exception as error:  # whatever a template's expressions raise
            raise ConfigError(
                f"The template {self.name!r} must render a sample. "
                f"Received: {type(error).__name__}: {error}"
            ) from error
