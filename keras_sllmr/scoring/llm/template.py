"""Prompts as data: a YAML file with what is said and what must be answered."""

import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field

from keras_sllmr.errors import ConfigError
from keras_sllmr.io.hashing import fingerprint
from keras_sllmr.scoring.llm.answer_format import AnswerFormat
from keras_sllmr.scoring.llm.texts import clean_text
from keras_sllmr.settings import Settings, read_mapping, settings_of

_FOLDER = Path(__file__).parent / "templates"
_QUOTE = json.JSONEncoder(ensure_ascii=False).encode
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
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            names = sorted(file.stem for file in _FOLDER.glob("*.yaml"))
            if str(name_or_path) not in names:
                raise ConfigError(
                    f"`template` must be one of {', '.join(names)} or a .yaml file. "
                    f"Received: {str(name_or_path)!r}"
                )
            path = _FOLDER / f"{name_or_path}.yaml"
        values = read_mapping(path, what="template")
        return cls(settings_of(TemplateSettings, values, path.name))

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
        messages = [{"role": "user", "content": self._user.render(values)}]
        if self.settings.system:
            system = {"role": "system", "content": self._system.render(values)}
            messages.insert(0, system)
        return messages

    def _quoted(self, text: str) -> str:
        cleaned = clean_text(text, max_chars=self.settings.max_chars)
        return _QUOTE(cleaned)

    def _compiled(self, part: str) -> Template:
        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        # The same question must give the same prompt, or it is paid for twice.
        del environment.globals["lipsum"], environment.filters["random"]
        known = {"history", "candidates", *environment.globals}
        if self.answer.kind == "yes_no":
            known.add("candidate")
        source = getattr(self.settings, part)
        try:
            unknown = meta.find_undeclared_variables(environment.parse(source)) - known
            compiled = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"`{part}` of the template {self.name!r} must be valid Jinja2. "
                f"Received, in its line {error.lineno}: {error.message}"
            ) from error
        if unknown:
            raise ConfigError(
                f"`{part}` of the template {self.name!r} may use "
                f"{', '.join(sorted(known - set(environment.globals)))}. "
                f"Received: {', '.join(sorted(unknown))}"
            )
        return compiled

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
