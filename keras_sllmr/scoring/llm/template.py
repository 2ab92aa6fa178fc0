"""Prompts as data: a YAML file with what is said and what must be answered."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import Template
from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.scoring.llm.answer_format import AnswerFormat
from keras_sllmr.scoring.llm.prompt_parts import (
    chat_messages,
    compiled,
    quoted,
    read_template,
)
from keras_sllmr.settings import Settings

_FOLDER = Path(__file__).parent / "templates"
_SAMPLE_HISTORY, _SAMPLE_CANDIDATES = ["event 1", "event 2"], ["sample 1", "sample 2"]


class TemplateSettings(Settings):
    """What a template's YAML file holds.

    Args:
        name: str.
        answer: what must be answered.
        system: str, Jinja2. The system message; empty for none.
        user: str, Jinja2. The user message.
        max_chars: int. Longest text shown; longer ones are cut.
    """

    name: str = Field(min_length=1)
    answer: AnswerFormat
    system: str
    user: str = Field(min_length=1)
    max_chars: int = Field(200, ge=8)


class PromptTemplate:
    """A prompt, with texts as values: nothing in a text is ever run as a template.

    The Jinja2 variables are `history`, a list of texts with the oldest first,
    `candidates`, a list of objects with `id` (1 to n) and `text`, and for `yes_no`
    also `candidate`, the only one of these. Texts are cleaned (see `clean_text`) and
    come as quoted JSON strings, so that no text can end its own quotes.

    Args:
        settings: the prompt's parts.

    Raises:
        ConfigError: when a part is no Jinja2, or can't be rendered.

    Example:
        >>> template = PromptTemplate.load("paper")
        >>> messages = template.render(["Shampoo"], ["Hair brush", "Razor"])
        >>> print(messages[1]["content"].splitlines()[2])
        2: "Razor"
    """

    def __init__(self, settings: TemplateSettings) -> None:
        self.settings = settings
        self.answer = settings.answer
        self._system = self._compiled("system")
        self._user = self._compiled("user")
        self._try_out()

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> "PromptTemplate":
        """Reads a template that comes with the package, or a YAML file.

        Args:
            name_or_path: `"paper"`, `"paper_100"`, `"ranking"` or `"yes_no"`; else the
                path of a file that ends in `.yaml` or `.yml`.

        Raises:
            ConfigError: when there is none, or it breaks a rule.
        """
        return cls(read_template(name_or_path, _FOLDER, TemplateSettings))

    def __reduce__(self) -> tuple[Any, ...]:
        # Compiled templates can't be pickled.
        return PromptTemplate, (self.settings,)

    @property
    def name(self) -> str:
        """The template's name."""
        return self.settings.name

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that the file holds."""
        return fingerprint(self.settings.model_dump())

    def schema(self, n: int) -> dict[str, Any] | None:
        """See `AnswerFormat.schema_for`."""
        return self.answer.schema_for(n)

    def render(
        self, history: Sequence[str], candidates: Sequence[str]
    ) -> list[dict[str, str]]:
        """The chat messages that ask about candidates.

        Args:
            history: texts, the oldest first.
            candidates: texts; their ids are 1 to n in this order.

        Returns:
            The messages, `role` and `content` each.

        Raises:
            ConfigError: when a `yes_no` prompt gets other than one candidate.
        """
        shown = [
            {"id": number, "text": self._quoted(text)}
            for number, text in enumerate(candidates, 1)
        ]
        values: dict[str, Any] = {
            "history": [self._quoted(text) for text in history],
            "candidates": shown,
        }
        if self.answer.kind == "yes_no":
            if len(shown) != 1:
                raise ConfigError(
                    "A prompt of kind `yes_no` is about one candidate. "
                    f"Received: {len(shown)} candidates"
                )
            values["candidate"] = shown[0]
        system = self._system if self.settings.system else None
        return chat_messages(system, self._user, values)

    def _quoted(self, text: str) -> str:
        return quoted(text, max_chars=self.settings.max_chars)

    def _compiled(self, part: str) -> Template:
        known = ["history", "candidates"]
        if self.answer.kind == "yes_no":
            known.append("candidate")
        source = getattr(self.settings, part)
        return compiled(source, part=part, name=self.name, known=known)[0]

    def _try_out(self) -> None:
        """Finds at loading what would fail in the midst of a job."""
        one = self.answer.kind == "yes_no"
        shown = _SAMPLE_CANDIDATES[:1] if one else _SAMPLE_CANDIDATES
        try:
            for history in ([], _SAMPLE_HISTORY):
                text = self.render(history, shown)[-1]["content"]
        except Exception as error:
            raise ConfigError(
                f"The template {self.name!r} must render a sample. "
                f"Received: {type(error).__name__}: {error}"
            ) from error
        if not all(candidate in text for candidate in shown):
            raise ConfigError(
                f"`user` of the template {self.name!r} must show the text of every "
                "candidate. Received: one that shows none or only some of them"
            )
