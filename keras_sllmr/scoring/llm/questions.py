"""Questions about candidates: the next request, and the scores once there are answers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.answers import (
    NO_LOGPROBS,
    check_temperature,
    parse_ranking,
    parse_scores,
    parse_yes_no,
)
from keras_sllmr.scoring.llm.request import Answer, Request, Scores
from keras_sllmr.scoring.llm.request_maker import RequestMaker
from keras_sllmr.scoring.llm.template import PromptTemplate


@dataclass(frozen=True, kw_only=True)
class _Question:
    """What both kinds of questions share.

    After an answer that leaves candidates without a score, they are asked about again,
    `reasks` times at most; an answer that is a failure ends the question.
    """

    template: PromptTemplate
    maker: RequestMaker
    history: Sequence[str]
    reasks: int = 1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.reasks < 0:
            raise ConfigError(
                f"`reasks` must not be negative. Received: reasks={self.reasks}"
            )
        if (self.template.answer.kind == "yes_no") != isinstance(self, YesNoQuestion):
            raise ConfigError(
                "A template of kind `yes_no` goes with a `YesNoQuestion`, others with "
                f"a `ListQuestion`. Received: {type(self).__name__}, kind="
                f"{self.template.answer.kind!r}"
            )

    def _ended(self, answers: Sequence[Answer]) -> bool:
        return bool(answers) and (
            len(answers) > self.reasks or bool(answers[-1].reason)
        )

    def _request(self, candidates: Sequence[str], attempt: int) -> Request:
        return self.maker.chat(
            self.template.render(self.history, candidates),
            schema=self.template.schema(len(candidates)),
            n=len(candidates),
            attempt=attempt,
        )


@dataclass(frozen=True, kw_only=True)
class ListQuestion(_Question):
    """All candidates in one prompt, answered by scores or by an order.

    Scores: a re-ask is about the candidates without a score alone, numbered anew.
    Order: a re-ask is about the whole list, as an order of a part says nothing of the
    rest; the answer that ranks the most candidates counts, the latest of equals.

    Args:
        template: of kind `scores` or `ranking`.
        maker: makes the requests.
        history: texts, the oldest first.
        candidates: texts, in the order to show them in.
        reasks: int. Most requests after the first.
        temperature: float, ranks. τ of an order's soft scores, see `parse_ranking`.

    Raises:
        ConfigError: when an argument breaks its rule.

    Example:
        >>> question = ListQuestion(
        ...     template=PromptTemplate.load("paper"),
        ...     maker=RequestMaker(model="gpt-4o-mini"),
        ...     history=["Shampoo"],
        ...     candidates=["Hair brush", "Razor"],
        ... )
        >>> answer = Answer(content='{"scores": [{"id": 1, "score": 0.25}]}')
        >>> reask = question.next([answer])
        >>> print(reask.body["messages"][1]["content"].splitlines()[1])
        1: "Razor"
    """

    candidates: Sequence[str]

    def next(self, answers: Sequence[Answer]) -> Request | None:
        """See `Question.next`."""
        if self._ended(answers):
            return None
        missing = np.flatnonzero(np.isnan(self.scores(answers).values))
        if self.template.answer.kind == "ranking" and len(missing):
            return self._request(self.candidates, len(answers))
        texts = [self.candidates[int(place)] for place in missing]
        return self._request(texts, len(answers)) if texts else None

    def scores(self, answers: Sequence[Answer]) -> Scores:
        """See `ScoringQuestion.scores`."""
        if self.template.answer.kind == "ranking":
            return self._best_ranking(answers)
        form = self.template.answer
        values = np.full(len(self.candidates), np.nan, np.float32)
        problems: Counter[str] = Counter()
        for answer in answers:
            missing = np.flatnonzero(np.isnan(values))
            values[missing], found = parse_scores(answer, len(missing), form)
            problems += found
        return Scores(values, problems)

    def _best_ranking(self, answers: Sequence[Answer]) -> Scores:
        n, form = len(self.candidates), self.template.answer
        values = np.full(n, np.nan, np.float32)
        problems: Counter[str] = Counter()
        for answer in answers:
            latest, found = parse_ranking(answer, n, form, temperature=self.temperature)
            if np.isnan(latest).sum() <= np.isnan(values).sum():
                values = latest
            problems += found
        return Scores(values, problems)


@dataclass(frozen=True, kw_only=True)
class YesNoQuestion(_Question):
    """One candidate, answered by the log-probabilities of yes and no.

    An endpoint without log-probabilities is not asked again: it has none to give.

    Args:
        template: of kind `yes_no`.
        maker: makes the requests.
        history: texts, the oldest first.
        candidate: text.
        reasks: int. Most requests after the first.
        temperature: float. T of the score, see `parse_yes_no`.

    Raises:
        ConfigError: when an argument breaks its rule.

    Example:
        >>> question = YesNoQuestion(
        ...     template=PromptTemplate.load("yes_no"),
        ...     maker=RequestMaker(model="gpt-4o-mini"),
        ...     history=["Shampoo"],
        ...     candidate="Hair brush",
        ... )
        >>> answer = Answer(top_logprobs=(("Yes", -1.0), ("No", -1.0)))
        >>> question.scores([answer]).values
        array([0.5], dtype=float32)
    """

    candidate: str

    def next(self, answers: Sequence[Answer]) -> Request | None:
        """See `Question.next`."""
        if self._ended(answers):
            return None
        found = self.scores(answers)
        if not np.isnan(found.values[0]) or NO_LOGPROBS in found.problems:
            return None
        return self._request([self.candidate], len(answers))

    def scores(self, answers: Sequence[Answer]) -> Scores:
        """See `ScoringQuestion.scores`."""
        values = np.full(1, np.nan, np.float32)
        problems: Counter[str] = Counter()
        for answer in answers:
            values, found = parse_yes_no(answer, temperature=self.temperature)
            problems += found
        return Scores(values, problems)
