import threading
import time
from typing import Any

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.errors import ConfigError
from keras_sllmr.scoring.llm.tokens import TokenCounter, completion_bound

# A token a byte, and "ab" as one.
TINY = tiktoken.Encoding(
    "tiny",
    pat_str=r"\S+|\s+",
    mergeable_ranks={**{bytes([byte]): byte for byte in range(256)}, b"ab": 256},
    special_tokens={"<|endoftext|>": 257},
)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda model: TINY)


def _fails(error: Exception) -> Any:
    def encoding_for_model(model: str) -> tiktoken.Encoding:
        raise error

    return encoding_for_model


def _chat(*contents: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "abc", "content": each} for each in contents], **more}


@pytest.mark.usefixtures("known")
def test_counts_with_tiktoken() -> None:
    counter = TokenCounter("any")
    assert counter.exact and counter.name == "tiktoken tiny"
    # Role 2, content 3, around the message 3, before the answer 3.
    assert counter.count(_chat("abab.")) == 2 + 3 + 3 + 3
    named = {"messages": [{"role": "abc", "content": "", "name": "abab"}]}
    assert counter.count(named) == 2 + 2 + 1 + 3 + 3
    assert counter.count({"input": ["abab", "c"]}) == 3
    assert counter.count({"input": "abab"}) == 2
    schema = '{"name":"s","schema":{}}'
    counted = counter.count(_chat("", response_format=SCHEMA))
    assert counted == 2 + 3 + 3 + len(schema)
    assert counter.bound(_chat("abab.")) == 2 + 3 + 3 * 8


@pytest.mark.usefixtures("known")
def test_special_tokens_in_a_title_are_text() -> None:
    count = TokenCounter("any").count({"input": ["<|endoftext|>"]})
    assert count == len("<|endoftext|>")


@pytest.mark.parametrize(
    "error", [KeyError("model"), OSError("no network"), ValueError()]
)
def test_estimates_where_tiktoken_fails(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(tiktoken, "encoding_for_model", _fails(error))
    counter = TokenCounter("any")
    assert not counter.exact and counter.name == "estimate: bytes / 4"
    # Role 1 token of 3 bytes, content 2 of 5 bytes.
    assert counter.count(_chat("éé.")) == 1 + 2 + 3 + 3
    assert counter.bound(_chat("éé.")) == 3 + 5 + 3 * 8


def test_a_download_that_hangs_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    released = threading.Event()

    def hang(model: str) -> tiktoken.Encoding:
        released.wait(30)
        return TINY

    monkeypatch.setattr(tiktoken, "encoding_for_model", hang)
    start = time.monotonic()
    assert not TokenCounter("any", timeout=0.05).exact
    assert time.monotonic() - start < 5
    released.set()


@given(
    st.lists(st.text(), min_size=1),
    st.booleans(),
    st.sampled_from([{}, {"response_format": SCHEMA}, {"response_format": None}]),
)
def test_the_bound_is_no_less_than_the_count(
    contents: list[str], known: bool, more: dict[str, Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            tiktoken, "encoding_for_model", lambda model: TINY if known else 1 / 0
        )
        counter = TokenCounter("any")
    for body in (_chat(*contents, **more), {"input": contents}):
        text = "".join(contents).encode("utf-8", "surrogatepass")
        assert counter.bound(body) >= counter.count(body)
        assert known or counter.bound(body) >= len(text)


def test_contents_of_parts_and_lone_surrogates() -> None:
    counter = TokenCounter("no model of that name")
    parts = [{"type": "text", "text": "x" * 40}]
    assert counter.count(_chat(parts)) >= 10
    assert counter.count({"input": ["\ud800"]}) == 1
    assert counter.count({"input": [[1, 2, 3]]}) == 3


def test_the_completion_bound() -> None:
    assert completion_bound({"input": ["a"]}) == 0
    with pytest.raises(ConfigError, match="max_completion_tokens"):
        completion_bound(_chat("a"))
    assert completion_bound(_chat("a", max_tokens=5)) == 5
    assert completion_bound(_chat("a", max_completion_tokens=7, n=3)) == 21
