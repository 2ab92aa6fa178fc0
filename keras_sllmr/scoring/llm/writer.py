"""Texts written by a language model, each asked for once and kept in the ledger."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.connect import engine_for
from keras_sllmr.scoring.llm.engine import Engine
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.reading import Reading
from keras_sllmr.scoring.llm.settings import WriterSettings
from keras_sllmr.scoring.llm.tally import Tally
from keras_sllmr.scoring.llm.text_question import TextQuestion
from keras_sllmr.scoring.llm.text_template import TextTemplate, Values
from keras_sllmr.scoring.llm.texts import shown_texts


class TextWriter:
    """Asks a language model for texts.

    Every answer is kept: asked again, only what is missing is sent. Writers that share
    an engine (see `using`) share its ledger, limits and caps.

    Args:
        settings: see `WriterSettings`.
        template: or the name of a packaged one, see `TextTemplate.load`, or a file.
        engine: asks what its ledger lacks; none to only make questions.
        variables: of the template, when it is given by name.

    Raises:
        ConfigError: when a setting breaks its rule, or the template is not found.

    Example:
        >>> settings = WriterSettings(model="gpt-4o-mini", base_url="http://localhost")
        >>> writer = TextWriter(settings, "item_facts")
        >>> question = writer.questions([{"item": "Shampoo"}])[0]
        >>> question.next([]).body["max_tokens"]  # 2 · 120 words + 64
        304
    """

    def __init__(
        self,
        settings: WriterSettings,
        template: TextTemplate | str | os.PathLike[str],
        *,
        engine: Engine | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(template, TextTemplate):
            template = TextTemplate.load(template, variables=variables)
        self.settings, self.template, self.engine = settings, template, engine
        self.maker = settings.maker()
        self.tokens = settings.tokens_per_text or 2 * template.settings.words
        self.tally = Tally()
        self._reading: Reading | None = None
        self._texts = self._blank = 0

    @classmethod
    def open(
        cls,
        settings: WriterSettings,
        template: TextTemplate | str | os.PathLike[str],
        ledger: str | os.PathLike[str],
        *,
        batch: BatchSettings | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> "TextWriter":
        """A writer with the ledger, caps and transport that its settings say.

        Args:
            settings: see `WriterSettings`.
            template: as above.
            ledger: the ledger's file. Caps count what it says was spent before.
            batch: asks through the Batch API. Defaults to single requests.
            variables: as above.

        Raises:
            ConfigError: on a cap in USD for a model without a known price.
            StoreError: when the file is not a ledger.
        """
        writer = cls(settings, template, variables=variables)
        writer.engine = engine_for(Ledger(ledger), settings, batch=batch)
        return writer

    def using(
        self,
        template: TextTemplate | str | os.PathLike[str],
        *,
        parameters: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> "TextWriter":
        """A writer with another template, which shares this one's engine.

        Args:
            template: as above.
            parameters: sent in place of the settings'. Defaults to these.
            variables: as above.
        """
        settings = self.settings
        if parameters is not None:
            settings = settings.model_copy(update={"parameters": dict(parameters)})
        return TextWriter(settings, template, engine=self.engine, variables=variables)

    def describe(self) -> dict[str, Any]:
        """Model, prompt hash and parameters."""
        return {
            "model": self.settings.model,
            "endpoint": self.settings.endpoint_id,
            "prompt": self.template.name,
            "prompt_hash": self.template.fingerprint,
            "tokens_per_text": self.tokens,
            **self.settings.model_dump(
                include={"parameters", "structured", "reasks", "redact"}
            ),
        }

    def shown(self, texts: Iterable[str]) -> list[str]:
        """What the model may see of each text: redacted, cleaned and cut."""
        return shown_texts(
            texts,
            redact=self.settings.redact,
            max_chars=self.template.settings.max_chars,
        )

    def questions(
        self, prompts: Sequence[Values | None], *, samples: int = 1
    ) -> dict[int, TextQuestion]:
        """The questions by place, the first sample's first; equal prompts once.

        Args:
            prompts: what each is about; none for nothing to ask.
            samples: int. Texts a prompt.

        Raises:
            ConfigError: when a prompt lacks what the template needs, or on several
                samples that can't differ.
        """
        return self._distinct(prompts, samples)[0]

    def write(
        self,
        prompts: Sequence[Values | None],
        *,
        samples: int = 1,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[str]:
        """Asks, and reads the texts; see `report` for what went wrong.

        Args:
            prompts: what each is about; none for nothing to ask.
            samples: int. Texts a prompt, each with a seed of its own. Defaults to `1`.
            progress: called with (texts done, all texts).

        Returns:
            `samples · len(prompts)` texts, all of the first sample first and in the
            prompts' order; "" where there is none. A cap ends the asking early; that is
            no error.

        Raises:
            ConfigError: as for `questions`, or without an engine.
            EndpointError: when the endpoint is down or refuses; asked again, only what
                is missing is sent.
        """
        if self.engine is None:
            raise ConfigError(
                "A writer needs an engine to ask. Received: engine=None. Make it with "
                "`TextWriter.open`."
            )
        questions, places = self._distinct(prompts, samples)
        done = 0

        def tell(_: object) -> None:
            nonlocal done
            done += 1
            if progress:
                progress(done, len(questions))

        self._reading = reading = Reading(self.engine.ledger)
        self.tally = self.engine.ask(list(questions.items()), done=tell)
        texts = {place: self._read(reading, each) for place, each in questions.items()}
        self._texts = len(texts)
        self._blank = sum(not text for text in texts.values())
        return [texts[place] if place >= 0 else "" for place in places]

    def report(self) -> dict[str, Any]:
        """What the last texts came to: cost and problems, as a teacher reports them.

        `texts` counts the different texts asked for, `texts_missing` those that did not
        come.
        """
        if self.engine is None or self._reading is None:
            return {"texts": 0, "texts_missing": 0}
        priced = self.engine.spending.price is not None
        return {
            "texts": self._texts,
            "texts_missing": self._blank,
            **self._reading.report(stopped=self.tally.stopped, priced=priced),
        }

    def _read(self, reading: Reading, question: TextQuestion) -> str:
        text = ""
        for answer in reading.answers(question):
            text, problem = self.template.read(answer)
            reading.problems += Counter([problem] if problem else [])
        return text

    def _distinct(
        self, prompts: Sequence[Values | None], samples: int
    ) -> tuple[dict[int, TextQuestion], list[int]]:
        """Questions by the first place that has them, and each place's; -1 for none."""
        self._check_samples(samples)
        first: dict[tuple[int, str], int] = {}
        questions: dict[int, TextQuestion] = {}
        places: list[int] = []
        for sample in range(samples):
            for values in prompts:
                if values is None:
                    places.append(-1)
                    continue
                self.template.require(values)
                mark = sample, json.dumps(values, sort_keys=True)
                place = first.setdefault(mark, len(places))
                if place == len(places):
                    questions[place] = TextQuestion(
                        template=self.template,
                        maker=self.maker,
                        values=values,
                        tokens=self.tokens,
                        sample=sample,
                        reasks=self.settings.reasks,
                    )
                places.append(place)
        return questions, places

    def _check_samples(self, samples: int) -> None:
        if samples < 1:
            raise ConfigError(
                f"`samples` must be positive. Received: samples={samples}"
            )
        if samples > 1 and self.settings.parameters.get("temperature") == 0:
            raise ConfigError(
                "Several samples need a temperature above 0, or they are all the same. "
                f"Received: samples={samples}, temperature=0"
            )
