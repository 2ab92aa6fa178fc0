"""Tokens of a request before it is sent: counted where possible, else estimated."""

import contextlib
import json
import threading
from typing import Any, Protocol

from keras_sllmr.errors import ConfigError

# Tokens that OpenAI puts around each message and before each answer.
_PER_MESSAGE, _PER_NAME, _PER_ANSWER = 3, 1, 3
# The same at most, in the chat templates of other models, and a text's own two ends.
_MOST_PER_TEXT = 8
_BYTES_PER_TOKEN = 4


class Encoding(Protocol):
    """The part of `tiktoken.Encoding` that counting needs."""

    name: str

    def encode_ordinary(self, text: str) -> list[int]:
        """Token ids of a text, in which no special token is known."""
        ...


class TokenCounter:
    r"""Counts the prompt tokens of request bodies.

    With an encoding that `tiktoken` knows for the model, texts are counted exactly;
    else \(\lceil bytes / 4 \rceil\) estimates them. The encoding is fetched once and
    kept by `tiktoken`; where that fails or takes too long, estimates are used.

    Args:
        model: str. As in the request's body.
        timeout: float, seconds. Most to wait for the encoding. Defaults to `10`.

    Example:
        >>> counter = TokenCounter("a-local-model")
        >>> counter.name, counter.exact
        ('estimate: bytes / 4', False)
        >>> counter.count({"messages": [{"role": "user", "content": "Hello world!"}]})
        10

    Reference:
        OpenAI cookbook, "How to count tokens with tiktoken".
    """

    def __init__(self, model: str, *, timeout: float = 10.0) -> None:
        self._encoding = _encoding(model, timeout)

    @property
    def exact(self) -> bool:
        """Whether texts are counted with the model's own tokens."""
        return self._encoding is not None

    @property
    def name(self) -> str:
        """How tokens are counted, for reports."""
        if self._encoding is None:
            return f"estimate: bytes / {_BYTES_PER_TOKEN}"
        return f"tiktoken {self._encoding.name}"

    def count(self, body: dict[str, Any]) -> int:
        """The best estimate of a body's prompt tokens.

        Args:
            body: of a chat or an embeddings request.
        """
        messages = body.get("messages", [])
        names = sum("name" in message for message in messages)
        around = _PER_MESSAGE * len(messages) + _PER_NAME * names
        return (
            sum(self.count_text(text) for text in _texts(body) + _schema(body))
            + around
            + (_PER_ANSWER if messages else 0)
        )

    def bound(self, body: dict[str, Any]) -> int:
        """Prompt tokens that a body can not exceed.

        A byte-level tokeniser never makes more tokens of a text than it has bytes. How
        an endpoint words a schema is its secret: its JSON's bytes are the bound.

        Args:
            body: of a chat or an embeddings request.
        """
        texts = _texts(body)
        tokens = sum(map(self.count_text if self.exact else _bytes, texts))
        around = _MOST_PER_TEXT * (len(texts) + 1)
        return tokens + sum(map(_bytes, _schema(body))) + around

    def count_text(self, text: str) -> int:
        """Tokens of a bare text."""
        if self._encoding is None:
            return -(-_bytes(text) // _BYTES_PER_TOKEN)
        return len(self._encoding.encode_ordinary(text))


def completion_bound(body: dict[str, Any]) -> int:
    """Completion tokens that a body allows.

    Args:
        body: of a chat or an embeddings request; the latter has no completion.

    Raises:
        ConfigError: when the body of a chat request sets no limit.

    Example:
        >>> completion_bound({"messages": [], "max_tokens": 60, "n": 2})
        120
    """
    if "messages" not in body:
        return 0
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is None:
        raise ConfigError(
            "A chat request must limit what is written, or nothing can be said of its "
            "cost: set `max_completion_tokens` or `max_tokens`. Received: neither"
        )
    return int(limit) * int(body.get("n") or 1)


def _texts(body: dict[str, Any]) -> list[str]:
    """All text of a body's messages or inputs."""
    values = [
        value for message in body.get("messages", []) for value in message.values()
    ]
    inputs = body.get("input", [])
    values += inputs if isinstance(inputs, list) else [inputs]
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _schema(body: dict[str, Any]) -> list[str]:
    """The answer's schema, which is part of the prompt."""
    schema = (body.get("response_format") or {}).get("json_schema")
    return [json.dumps(schema, separators=(",", ":"))] if schema else []


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _encoding(model: str, timeout: float) -> Encoding | None:
    """The model's encoding; none when it is unknown or can not be had in time."""
    found: list[Encoding] = []

    def load() -> None:
        # Not installed, no such model, no network, a damaged download: whatever it is,
        # an estimate will do.
        with contextlib.suppress(Exception):
            import tiktoken

            found.append(tiktoken.encoding_for_model(model))

    # A daemon, so that a download which hangs does not keep the program alive.
    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(timeout)
    return found[0] if found else None
