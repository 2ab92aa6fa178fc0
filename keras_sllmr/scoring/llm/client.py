"""One request to an OpenAI-compatible endpoint: an answer, or why there is none."""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import httpx2
import numpy as np
import openai

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.request import Answer, Request, Usage

# Statuses after which the same request may succeed.
_PASSING = frozenset({408, 409, 425, 429})
# Statuses after which no request can succeed: wrong key, model or address.
_FINAL = frozenset({401, 402, 403, 404, 405})

#: What a call of the `openai` client may raise because of the endpoint.
FAILURES = (
    openai.OpenAIError,
    httpx2.HTTPError,
    aiohttp.ClientError,
    ValueError,
    OSError,
)


@dataclass(eq=False)
class Unanswered(Exception):
    """A sending that brought no answer.

    Args:
        reason: in a word or two, e.g. `"http 429"`; never holds a secret.
        message: what the endpoint said, without secrets.
        retry: bool. Whether the same request may succeed later.
        down: bool. Whether it says that the endpoint is down.
        billed: bool. Whether it may have been billed all the same.
        final: bool. Whether every other request must fail too.
        retry_after: float, seconds. As the endpoint asks; none if it does not.
    """

    reason: str
    message: str = ""
    retry: bool = False
    down: bool = False
    billed: bool = False
    final: bool = False
    retry_after: float | None = None


class Client:
    """The `openai` client, reduced to one call.

    Args:
        base_url: str. The endpoint; none for the `openai` package's own default
            (`OPENAI_BASE_URL`, or OpenAI).
        api_key_env: str. Environment variable that holds the key. An endpoint named by
            `base_url` may do without one.
        timeout: float, seconds. For a whole request.
        connections: int. Most at a time.

    Raises:
        ConfigError: when the key is missing, or `timeout` is not positive.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key_env: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        connections: int = 32,
    ) -> None:
        if not timeout > 0:
            raise ConfigError(
                f"`timeout` must be positive. Received: timeout={timeout}"
            )
        base_url = base_url or os.environ.get("OPENAI_BASE_URL") or None
        self._key = required_key(base_url, api_key_env)
        self.timeout, self.name = timeout, public_url(base_url)
        self._client = openai.AsyncOpenAI(
            api_key=self._key or "none",
            base_url=base_url,
            timeout=timeout,
            # Retries are the engine's, so that each is counted, limited and capped.
            max_retries=0,
            # Half the processor time of httpx's own transport with many connections.
            http_client=openai.DefaultAioHttpClient(
                limits=httpx2.Limits(
                    max_connections=connections, max_keepalive_connections=connections
                )
            ),
        )

    async def aclose(self) -> None:
        """Closes the connections; as `contextlib.aclosing` calls it."""
        with contextlib.suppress(OSError, RuntimeError):
            await self._client.close()

    @property
    def openai(self) -> openai.AsyncOpenAI:
        """The client itself, for what is not a single request."""
        return self._client

    async def send(self, request: Request) -> Answer:
        """Sends a request once.

        Raises:
            Unanswered: when no answer came.
        """
        try:
            payload = await asyncio.wait_for(
                self._client.post(request.path, body=request.body, cast_to=object),
                self.timeout,
            )
        except asyncio.TimeoutError as error:
            raise Unanswered("timeout", retry=True, down=True, billed=True) from error
        except FAILURES as error:
            raise self.unanswered(error) from None
        try:
            return read_answer(payload)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise Unanswered("unreadable", retry=True, billed=True) from error

    def unanswered(self, error: Exception) -> Unanswered:
        """What an error of the `openai` client means."""
        message = self.scrub(str(error))
        if isinstance(error, openai.APITimeoutError) and not _is_lost(error):
            return Unanswered("timeout", message, retry=True, down=True, billed=True)
        if isinstance(error, openai.APIStatusError):
            return _of_status(error, message)
        if isinstance(error, openai.APIConnectionError):
            refused = _is_refused(error)
            return Unanswered(
                "refused" if refused else "connection",
                self.scrub(str(error.__cause__ or error)),
                retry=True,
                down=True,
                billed=not refused,
            )
        return Unanswered("unreadable", message, retry=True, billed=True)

    def scrub(self, text: str) -> str:
        """`text` without the key, or anything that looks like one."""
        if self._key:
            text = text.replace(self._key, "***")
        # With a digit or a star, unlike the word in "key provided".
        likely = r"\b(sk|key|Bearer)[-_ ](?=\S*[\d*])[\w\-*.]{6,}"
        return re.sub(likely, r"\1-***", text)[:500]


def required_key(base_url: str | None, api_key_env: str) -> str:
    """The endpoint's key, from the environment; empty if it can do without.

    Raises:
        ConfigError: when there is none and no endpoint is named that needs none.
    """
    key = os.environ.get(api_key_env, "")
    if not key and not (base_url or os.environ.get("OPENAI_BASE_URL")):
        raise ConfigError(
            "The key of the endpoint must be in the environment variable "
            f"{api_key_env}. Received: none. Set it, or name an endpoint that needs no "
            "key with `base_url`."
        )
    return key


def public_url(url: str | None) -> str:
    """An endpoint's address without user, password or query."""
    if url is None:
        return "openai"
    parts = urlsplit(url)
    host = parts.hostname or ""
    place = f"{host}:{parts.port}" if parts.port else host
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))


def endpoint_id(base_url: str | None) -> str:
    """What stands for an endpoint in a ledger: its address without secrets."""
    return public_url(base_url or os.environ.get("OPENAI_BASE_URL") or None)


def read_answer(payload: Any) -> Answer:
    """An answer from the JSON that an endpoint sent.

    Raises:
        ValueError, TypeError, KeyError: when it is not what the API promises.
    """
    if isinstance(payload, (str, bytes)):
        payload = json.loads(payload)
    usage = _usage(payload.get("usage") or {})
    if "data" in payload:
        rows = sorted(payload["data"], key=lambda row: row["index"])
        vectors = np.array([row["embedding"] for row in rows], np.float32)
        return Answer(vectors=vectors.reshape(len(rows), -1), usage=usage)
    if "choices" not in payload:
        raise ValueError("neither choices nor data")
    if not payload["choices"]:
        return Answer(finish="none", usage=usage)
    choice = payload["choices"][0]
    message = choice.get("message") or {}
    finish = "content_filter" if message.get("refusal") else choice.get("finish_reason")
    tokens = (choice.get("logprobs") or {}).get("content") or []
    alternatives = tokens[0].get("top_logprobs") or [] if tokens else []
    return Answer(
        content=str(message.get("content") or ""),
        finish=str(finish or ""),
        top_logprobs=tuple(
            (str(each["token"]), float(each["logprob"])) for each in alternatives
        ),
        usage=usage,
    )


def may_pass(status: int) -> bool:
    """Whether the same request may succeed after this status."""
    return status in _PASSING or status >= 500


def _usage(usage: dict[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        prompt=max(0, int(usage.get("prompt_tokens") or 0)),
        completion=max(0, int(usage.get("completion_tokens") or 0)),
        cached=max(0, int(details.get("cached_tokens") or 0)),
    )


def _of_status(error: openai.APIStatusError, message: str) -> Unanswered:
    status = error.status_code
    out_of_money = error.code == "insufficient_quota"
    return Unanswered(
        "out of quota" if out_of_money else f"http {status}",
        message,
        retry=may_pass(status) and not out_of_money,
        down=status >= 500,
        final=status in _FINAL or out_of_money,
        retry_after=_retry_after(error.response.headers),
    )


def _retry_after(headers: Any) -> float | None:
    """Seconds that an endpoint asks to wait, given as seconds or as a date."""
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, float(headers.get("retry-after-ms")) / 1000)
    value = headers.get("retry-after")
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(TypeError, ValueError):
        # By the endpoint's own clock, if it tells.
        told = headers.get("date")
        now = parsedate_to_datetime(told) if told else datetime.now(timezone.utc)
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    return None


def _is_refused(error: BaseException) -> bool:
    """Whether no connection was made, so that nothing can have been billed."""
    unmade = (httpx2.ConnectError, aiohttp.ClientConnectorError, ConnectionRefusedError)
    return any(isinstance(each, unmade) for each in _causes(error))


def _is_lost(error: BaseException) -> bool:
    """Whether a connection was lost, which aiohttp's transport calls a timeout."""
    return any(
        isinstance(each, aiohttp.ClientConnectionError)
        and not isinstance(each, aiohttp.ServerTimeoutError)
        for each in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
