from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_sllmr.scoring.llm.request import CHAT, EMBEDDINGS, Request

BODY: dict[str, Any] = {
    "model": "m",
    "messages": [{"role": "user", "content": "?"}],
    "seed": 1,
    "response_format": {"type": "json_schema", "json_schema": {"strict": True}},
}
KEY = Request(CHAT, BODY).key


def test_the_key_is_the_same_everywhere() -> None:
    # A changed key would ask, and pay for, everything anew.
    assert KEY == "b82671cb01b3eac620019bfbb11df4d7"


def _changed(*path: Any, to: Any) -> Request:
    body = deepcopy(BODY)
    inner: Any = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = to
    return Request(CHAT, body)


@pytest.mark.parametrize(
    "request_",
    [
        Request(EMBEDDINGS, BODY),
        Request(CHAT, BODY, attempt=1),
        _changed("model", to="m2"),
        _changed("messages", 0, "content", to="? "),
        _changed("messages", 0, "role", to="system"),
        _changed("messages", to=BODY["messages"] * 2),
        _changed("seed", to=2),
        _changed("seed", to="1"),
        _changed("response_format", "json_schema", "strict", to=False),
        _changed("temperature", to=None),
    ],
)
def test_every_part_changes_the_key(request_: Request) -> None:
    assert request_.key != KEY


_JSON = st.recursive(
    st.one_of(st.integers(), st.text(max_size=5), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3),
    ),
    max_leaves=8,
)


def _reversed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _reversed(value[name]) for name in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


@given(body=st.dictionaries(st.text(max_size=3), _JSON, max_size=4))
def test_the_order_of_names_does_not_change_the_key(body: dict[str, Any]) -> None:
    assert Request(CHAT, _reversed(body)).key == Request(CHAT, body).key
