"""A language model behind an OpenAI-compatible endpoint, as teacher."""

import hashlib
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_sllmr.scoring.llm.batch_rounds import BatchSettings
from keras_sllmr.scoring.llm.connect import engine_for
from keras_sllmr.scoring.llm.engine import Engine
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.questions import ListQuestion, YesNoQuestion
from keras_sllmr.scoring.llm.reading import Reading
from keras_sllmr.scoring.llm.request import ScoringQuestion
from keras_sllmr.scoring.llm.settings import LLMSettings
from keras_sllmr.scoring.llm.tally import Tally
from keras_sllmr.scoring.llm.template import PromptTemplate
from keras_sllmr.scoring.llm.texts import shown_texts
from keras_sllmr.scoring.teachers.base import Opinion

Block = tuple[np.ndarray, np.ndarray]
# A question, and the places of its candidates in the row.
Placed = tuple[ScoringQuestion, np.ndarray]


class LLMTeacher:
    """Asks a language model how well candidates fit a history (paper 3.1 and 4.3).

    The model sees texts alone: no user id, and of items only what `texts` holds.
    Candidates are shown in a random order, seeded by what is shown, and with
    `permutations` in several, whose scores are averaged against position bias.

    Args:
        texts: str `[n_items + 1]`. Item texts; one without text is not asked about.
        ledger: of the answers.
        settings: see `LLMSettings`.
        engine: asks what the ledger lacks; none to only read it.
        name: str. Defaults to `"llm"`.

    Raises:
        ConfigError: when a setting breaks its rule, or the template is not found.
        DataError: when the redaction hook gives something else than text.
    """

    def __init__(
        self,
        texts: Sequence[str] | np.ndarray,
        ledger: Ledger,
        settings: LLMSettings,
        *,
        engine: Engine | None = None,
        name: str = "llm",
    ) -> None:
        self.ledger, self.settings, self.engine = ledger, settings, engine
        self.name = name
        self.template = PromptTemplate.load(settings.template)
        self.maker = settings.maker()
        self.texts = shown_texts(
            texts,
            redact=settings.redact,
            max_chars=self.template.settings.max_chars,
        )
        self.tally = Tally()
        self._reading = Reading(ledger)

    @classmethod
    def open(
        cls,
        texts: Sequence[str] | np.ndarray,
        ledger: str | os.PathLike[str],
        settings: LLMSettings,
        *,
        batch: BatchSettings | None = None,
        name: str = "llm",
    ) -> "LLMTeacher":
        """A teacher with the ledger, caps and transport that its settings say.

        Args:
            texts: as above.
            ledger: the ledger's file. Caps count what it says was spent before.
            settings: see `LLMSettings`.
            batch: asks through the Batch API. Defaults to single requests.
            name: str. Defaults to `"llm"`.

        Raises:
            ConfigError: on a cap in USD for a model without a known price.
            StoreError: when the file is not a ledger.
        """
        teacher = cls(texts, Ledger(ledger), settings, name=name)
        teacher.engine = engine_for(teacher.ledger, settings, batch=batch)
        return teacher

    def describe(self) -> dict[str, Any]:
        """Model, prompt hash and parameters."""
        return {
            "name": self.name,
            "model": self.settings.model,
            "endpoint": self.settings.endpoint_id,
            "prompt": self.template.name,
            "prompt_hash": self.template.fingerprint,
            **self.settings.model_dump(
                include={
                    "parameters",
                    "structured",
                    "permutations",
                    "per_request",
                    "reasks",
                    "score_temperature",
                    "redact",
                }
            ),
        }

    def questions(self, history: np.ndarray, candidates: np.ndarray) -> list[Placed]:
        """What one user is asked about.

        Args:
            history: int `[L]`. Item indices, 0 is padding.
            candidates: int `[C]`. Likewise.

        Returns:
            Questions and the places of their candidates in `candidates`.
        """
        shown = [self.texts[item] for item in history if self.texts[item]]
        places = np.array(
            [place for place, item in enumerate(candidates) if self.texts[item]], int
        )
        if not shown or not len(places):
            return []
        common: dict[str, Any] = {
            "template": self.template,
            "maker": self.maker,
            "history": shown,
            "reasks": self.settings.reasks,
            "temperature": self.settings.score_temperature,
        }
        if self.template.answer.kind == "yes_no":
            return [
                (
                    YesNoQuestion(**common, candidate=self.texts[candidates[place]]),
                    np.array([place]),
                )
                for place in places
            ]
        asked: list[Placed] = []
        for order in self._orders(history, candidates, places):
            for start in range(0, len(order), self.settings.per_request):
                part = order[start : start + self.settings.per_request]
                texts = [self.texts[candidates[place]] for place in part]
                asked.append((ListQuestion(**common, candidates=texts), part))
        return asked

    def _orders(
        self, history: np.ndarray, candidates: np.ndarray, places: np.ndarray
    ) -> Iterator[np.ndarray]:
        """The same orders in every process, though nothing tells who the user is."""
        # Without padding: how wide a block is, depends on other users.
        asked = candidates[candidates > 0]
        shown = np.concatenate([history, [0], asked]).astype("<i8").tobytes()
        digest = hashlib.blake2b(shown, digest_size=8).digest()
        seed = [int.from_bytes(digest, "little"), self.settings.seed]
        generator = np.random.default_rng(seed)
        for _ in range(self.settings.permutations):
            yield generator.permutation(places)

    def ask(
        self,
        blocks: Iterable[Block],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> dict[str, Any]:
        """See `AskedTeacher.ask`.

        Raises:
            EndpointError: when the endpoint is down or refuses; asked again, only what
                is missing is sent.
        """
        self._reading = Reading(self.ledger)
        if self.engine is None:
            return self.tally.report()
        rows = _Rows(progress)
        asked = _Asked(self, blocks, rows)
        self.tally = self.engine.ask(asked, done=rows.done)
        return self.tally.report()

    def opinion(self, histories: np.ndarray, candidates: np.ndarray) -> Opinion:
        """What the ledger's answers say; see `AskedTeacher.opinion`."""
        total = np.zeros(candidates.shape)
        squares = np.zeros(candidates.shape)
        answers = np.zeros(candidates.shape, np.int64)
        for row, (history, wanted) in enumerate(
            zip(histories, candidates, strict=True)
        ):
            for question, places in self.questions(history, wanted):
                values = self._replay(question)
                known = places[~np.isnan(values)]
                values = values[~np.isnan(values)].astype(np.float64)
                total[row, known] += values
                squares[row, known] += values**2
                answers[row, known] += 1
        count = np.maximum(answers, 1)
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - mean**2, 0))
        # Equal answers differ by rounding alone.
        spread = np.where((answers > 1) & (spread > 1e-7), spread, 0)
        return Opinion(
            scores=np.where(answers > 0, mean, np.nan).astype(np.float32),
            spread=spread.astype(np.float32),
            answers=answers,
        )

    def score(self, histories: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """See `Teacher.score`."""
        return self.opinion(histories, candidates).scores

    def _replay(self, question: ScoringQuestion) -> np.ndarray:
        """A question's scores, from the ledger alone."""
        found = question.scores(self._reading.answers(question))
        self._reading.problems += found.problems
        return found.values

    def report(self) -> dict[str, Any]:
        """See `AskedTeacher.report`."""
        # Nobody knows the price, which is not the same as nothing.
        priced = self.engine is None or self.engine.spending.price is not None
        return self._reading.report(stopped=self.tally.stopped, priced=priced)


class _Asked:
    """The questions of blocks, tagged by their row; the same each time."""

    def __init__(
        self, teacher: LLMTeacher, blocks: Iterable[Block], rows: "_Rows"
    ) -> None:
        self.teacher, self.blocks, self.rows = teacher, blocks, rows

    def __iter__(self) -> Iterator[tuple[Hashable, ScoringQuestion]]:
        tag = 0
        for histories, candidates in self.blocks:
            for history, wanted in zip(histories, candidates, strict=True):
                questions = self.teacher.questions(history, wanted)
                tag += 1
                self.rows.begin(tag, len(questions))
                for question, _ in questions:
                    yield tag, question


class _Rows:
    """Tells progress in rows, though questions are what ends."""

    def __init__(self, progress: Callable[[int], None] | None) -> None:
        self.progress = progress
        self.begun = self.finished = 0
        self.open: dict[int, int] = {}

    def begin(self, tag: int, questions: int) -> None:
        if tag <= self.begun:
            return  # gone through again
        self.begun = tag
        if questions:
            self.open[tag] = questions
        else:
            self.finished += 1

    def done(self, tag: Hashable) -> None:
        assert isinstance(tag, int)
        self.open[tag] -= 1
        if not self.open[tag]:
            del self.open[tag]
            self.finished += 1
            if self.progress:
                self.progress(self.finished)
