import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.scoring.encoders.base import unit_rows
from keras_sllmr.scoring.encoders.endpoint import EndpointEncoder
from keras_sllmr.scoring.llm.caps import Caps

TEXTS = ["a lipstick", "", "a razor", "  ", "a brush", "soap", "a lipstick"]


def _expected(local_endpoint: Any) -> np.ndarray:
    rows = [local_endpoint._vector(text) for text in TEXTS]
    vectors = unit_rows(np.array(rows))
    vectors[[1, 3]] = 0
    return vectors


@pytest.mark.parametrize("size", [1, 2, 3, 128])
def test_vectors(
    endpoint: Callable[..., Any],
    engine: Callable[..., Any],
    local_endpoint: Any,
    size: int,
) -> None:
    served = endpoint()
    encoder = EndpointEncoder(engine(served.base_url), "local", batch_size=size)
    done: list[tuple[int, int]] = []
    vectors = encoder.encode(TEXTS, progress=lambda *at: done.append(at))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, _expected(local_endpoint), atol=1e-6)
    assert done[-1] == (7, 7)
    inputs = [text for body in served.bodies for text in json.loads(body)["input"]]
    assert all(text.strip() for text in inputs)
    # The ledger answers from now on.
    sent = len(served.bodies)
    np.testing.assert_array_equal(encoder.encode(TEXTS), vectors)
    assert len(served.bodies) == sent


def test_no_texts(endpoint: Callable[..., Any], engine: Callable[..., Any]) -> None:
    encoder = EndpointEncoder(engine(endpoint().base_url), "local")
    assert encoder.encode([]).shape == (0, 0)
    assert encoder.encode(["", " "]).shape == (2, 0)


def test_what_failed_is_asked_again_alone(
    endpoint: Callable[..., Any], engine: Callable[..., Any], local_endpoint: Any
) -> None:
    served = endpoint()
    served.endpoint.fault = lambda body: "500" if b"razor" in body else ""
    asking = engine(served.base_url, tries=2)
    encoder = EndpointEncoder(asking, "local", batch_size=1)
    with pytest.raises(EndpointError, match=r"failures {'http 500': 1}"):
        encoder.encode(TEXTS)
    sent = len(served.bodies)
    del served.endpoint.fault
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors, _expected(local_endpoint), atol=1e-6)
    assert len(served.bodies) == sent + 1


def test_a_cap_ends_it(
    endpoint: Callable[..., Any], engine: Callable[..., Any]
) -> None:
    served = endpoint()
    asking = engine(served.base_url, caps=Caps(max_requests=2))
    encoder = EndpointEncoder(asking, "local", batch_size=1)
    with pytest.raises(EndpointError, match="stopped by max_requests"):
        encoder.encode(TEXTS)
    assert len(served.bodies) == 2


def test_vectors_of_two_sizes(
    endpoint: Callable[..., Any], engine: Callable[..., Any]
) -> None:
    def respond(connection: Any, method: str, path: str, body: bytes) -> None:
        texts = json.loads(body)["input"]
        data = [
            {"index": n, "embedding": [1.0] * len(text)} for n, text in enumerate(texts)
        ]
        connection.send(200, json.dumps({"data": data}).encode())

    asking = engine(endpoint(respond=respond).base_url)
    encoder = EndpointEncoder(asking, "local", batch_size=1)
    with pytest.raises(EndpointError, match="vector of one size"):
        encoder.encode(["ab", "abc"])


def test_dimensions_are_asked_for(
    endpoint: Callable[..., Any], engine: Callable[..., Any]
) -> None:
    served = endpoint()
    encoder = EndpointEncoder(engine(served.base_url), "local", dimensions=16)
    assert encoder.encode(["a"]).shape == (1, 16)
    assert json.loads(served.bodies[0])["dimensions"] == 16
    with pytest.raises(EndpointError, match="wrong dimension"):
        EndpointEncoder(encoder.engine, "local", dimensions=8).encode(["a"])


def test_batches_must_hold_something(engine: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="`batch_size` must be positive"):
        EndpointEncoder(engine("http://localhost:1"), "local", batch_size=0)
