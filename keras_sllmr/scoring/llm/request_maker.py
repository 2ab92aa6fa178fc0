"""Requests made of messages: model, parameters, answer's schema and limits."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.request import CHAT, Request

Structured = Literal["json_schema", "json_object", "none"]

# Set by the maker or the client; the rest are the endpoint's own parameters.
_RESERVED = frozenset(
    {"model", "messages", "response_format", "n", "stream", "logprobs", "top_logprobs"}
    | {"api_key", "extra_headers"}
)


@dataclass(frozen=True, kw_only=True)
class RequestMaker:
    """Makes chat requests.

    Args:
        model: str. The endpoint's name of the model.
        endpoint: str. What stands for the endpoint in the requests' keys.
        parameters: sent as they are, e.g. `temperature` and `seed`; each re-ask adds 1
            to the seed.
        structured: str. How the answer's form is asked for: `"json_schema"`,
            `"json_object"`, or `"none"` for the prompt alone.
        output_limit: str. What the endpoint calls the limit of written tokens, e.g.
            `"max_completion_tokens"`.
        tokens_per_candidate: int. The limit's part for each candidate.
        tokens_beside: int. The limit's part for the rest; raise it for models that
            think before they answer.
        top_logprobs: int. Alternatives asked for with yes / no questions.

    Raises:
        ConfigError: when an argument breaks its rule.

    Example:
        >>> maker = RequestMaker(model="gpt-4o-mini", parameters={"seed": 7})
        >>> messages = [{"role": "user", "content": "…"}]
        >>> body = maker.chat(messages, schema=None, n=1, attempt=2).body
        >>> body["seed"], body["max_tokens"], body["top_logprobs"]
        (9, 1, 20)
    """

    model: str
    endpoint: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    structured: Structured = "json_schema"
    output_limit: str = "max_tokens"
    tokens_per_candidate: int = 16
    tokens_beside: int = 64
    top_logprobs: int = 20

    def __post_init__(self) -> None:
        for name, least in (
            ("tokens_per_candidate", 1),
            ("tokens_beside", 0),
            ("top_logprobs", 2),
        ):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"`{name}` must be at least {least}. "
                    f"Received: {name}={getattr(self, name)}"
                )
        if not (self.model and self.output_limit):
            raise ConfigError(
                "`model` and `output_limit` must be names. Received: "
                f"model={self.model!r}, output_limit={self.output_limit!r}"
            )
        if self.structured not in get_args(Structured):
            raise ConfigError(
                f"`structured` must be one of {', '.join(get_args(Structured))}. "
                f"Received: structured={self.structured!r}"
            )
        self._check_parameters()

    def _check_parameters(self) -> None:
        # The values stay out of the messages: one may be a key put in the wrong place.
        if taken := sorted({*self.parameters} & {*_RESERVED, self.output_limit}):
            raise ConfigError(
                "`parameters` must not hold what has settings of its own. "
                f"Received: {', '.join(taken)}"
            )
        if type(self.parameters.get("seed", 0)) is not int:
            raise ConfigError(
                f"`seed` must be an integer. Received: {self.parameters['seed']!r}"
            )
        try:
            json.dumps(dict(self.parameters), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                "`parameters` must be values that JSON can hold. Received: "
                f"{', '.join(map(str, self.parameters))} ({error})"
            ) from error

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        schema: Mapping[str, Any] | None,
        n: int,
        attempt: int = 0,
    ) -> Request:
        """A chat request.

        Args:
            messages: of the template.
            schema: the answer's JSON schema; none for a yes / no question, which is
                answered by the log-probabilities of a single token.
            n: int. Number of candidates.
            attempt: int. The how-many-th asking this is; 0 is the first.
        """
        if schema is None:
            asked = {"logprobs": True, "top_logprobs": self.top_logprobs}
            return self._request(messages, 1, asked, attempt)
        limit = self.tokens_per_candidate * n + self.tokens_beside
        return self._request(messages, limit, self._format(schema), attempt)

    def text(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        tokens: int,
        schema: Mapping[str, Any] | None = None,
        attempt: int = 0,
    ) -> Request:
        """A chat request for a text.

        Args:
            messages: of the template.
            tokens: int. Most that the text may have; `tokens_beside` comes on top.
            schema: the JSON schema of a text that has one. Defaults to none.
            attempt: int. The how-many-th asking this is; 0 is the first.
        """
        form = {} if schema is None else self._format(schema)
        return self._request(messages, tokens + self.tokens_beside, form, attempt)

    def _request(
        self,
        messages: Sequence[Mapping[str, str]],
        limit: int,
        asked: Mapping[str, Any],
        attempt: int,
    ) -> Request:
        body: dict[str, Any] = {
            **self.parameters,
            "model": self.model,
            "messages": list(messages),
            self.output_limit: limit,
            **asked,
        }
        if "seed" in body:
            body["seed"] += attempt
        return Request(CHAT, body, attempt=attempt, endpoint=self.endpoint)

    def _format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self.structured == "none":
            return {}
        form: dict[str, Any] = {"type": self.structured}
        if self.structured == "json_schema":
            form["json_schema"] = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": form}
