"""What is sent to an endpoint, what comes back, and what a question makes of it."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"

# Raised when the meaning of a request or of a stored answer changes.
_VERSION = 1


@dataclass(frozen=True)
class Request:
    """One request to an OpenAI-compatible endpoint.

    Args:
        path: `CHAT` or `EMBEDDINGS`.
        body: as sent: model, messages, response format, parameters.
        attempt: int. The how-many-th asking this is; 0 is the first.
        endpoint: str. What stands for the endpoint: the same model's name may mean
            another model elsewhere.
    """

    path: str
    body: dict[str, Any]
    attempt: int = 0
    endpoint: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of everything that changes the answer, as 32 hexadecimal digits."""
        content = [_VERSION, self.endpoint, self.path, self.body, self.attempt]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Usage:
    """Tokens of a request as the endpoint counts them."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0


@dataclass(frozen=True)
class Answer:
    """How a request ended.

    Args:
        reason: str. Empty for an answer; else why there is none, e.g. `"http 500"`.
        content: str. What the model wrote.
        finish: str. The endpoint's finish reason, e.g. `"stop"` or `"length"`.
        top_logprobs: (token, log-probability) of the first token's alternatives.
        vectors: float32 `[inputs, d]` of an embeddings request.
        usage: tokens.
    """

    reason: str = ""
    content: str = ""
    finish: str = ""
    top_logprobs: tuple[tuple[str, float], ...] = ()
    vectors: np.ndarray | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def said(self) -> str:
        """What the model wrote, without the thoughts that some models put before it.

        These end in `</think>`; where they were cut off there is nothing after them.

        Example:
            >>> Answer(content="<think>1 or 2? {2}</think>{1}").said
            '{1}'
        """
        _, ended, after = self.content.rpartition("</think>")
        thinking = self.content.lstrip().startswith("<think>")
        if ended:
            return after
        return "" if thinking else self.content


class Question(Protocol):
    """Something to be found out by one or more requests.

    Both methods are pure: the same answers give the same request and the same result,
    so a question can be asked today and its result read from the ledger later.
    """

    def next(self, answers: Sequence[Answer]) -> Request | None:
        """The request to send after these answers, or none when all is done."""
        ...


@dataclass(frozen=True)
class Scores:
    """What a scoring question found out.

    Args:
        values: float32 `[C]` in [0, 1], in the order that the candidates were given
            in; NaN where there is none.
        problems: how often each kind of bad answer came.
    """

    values: np.ndarray
    problems: Counter[str]


class ScoringQuestion(Question, Protocol):
    """A question about candidate items."""

    def scores(self, answers: Sequence[Answer]) -> Scores:
        """What these answers, in their order, say of the candidates."""
        ...
