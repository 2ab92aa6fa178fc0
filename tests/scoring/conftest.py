import asyncio
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from keras_sllmr.scoring.encoders.base import unit_rows
from keras_sllmr.scoring.llm.caps import Caps, Spending
from keras_sllmr.scoring.llm.client import Client
from keras_sllmr.scoring.llm.engine import Engine
from keras_sllmr.scoring.llm.ledger import Ledger
from keras_sllmr.scoring.llm.prices import Price
from keras_sllmr.scoring.llm.request import CHAT, Answer, Request
from keras_sllmr.scoring.llm.template import PromptTemplate
from keras_sllmr.scoring.llm.tokens import TokenCounter
from keras_sllmr.scoring.llm.transport import TransportSettings
from keras_sllmr.store.clean import clean
from keras_sllmr.store.feature_store import FeatureStore
from keras_sllmr.store.split import LeaveOneOut
from keras_sllmr.store.text_vectors import TextVectors

USERS, ITEMS = 40, 60


@pytest.fixture(scope="session")
def histories() -> list[list[int]]:
    """3 to 13 different items of each of 40 users, in order."""
    rng = np.random.default_rng(5)
    lengths = rng.permutation(np.resize(np.arange(3, 14), USERS))
    # The squared draw makes some items popular.
    weights = rng.random(ITEMS) ** 2
    return [
        (1 + rng.choice(ITEMS, n, replace=False, p=weights / weights.sum())).tolist()
        for n in lengths
    ]


@pytest.fixture(scope="session")
def shop(
    histories: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> LeaveOneOut:
    """The split of a store on disk; every tenth item has no text."""
    rng = np.random.default_rng(6)
    events = [
        (f"u{user:02d}", f"i{item:02d}", position)
        for user, history in enumerate(histories, start=1)
        for position, item in enumerate(history)
    ]
    items = pd.DataFrame({"item": [f"i{n:02d}" for n in range(1, ITEMS + 1)]})
    words = ["red", "blue", "old", "new", "big", "small", "round", "flat", "soft"]
    items["text"] = [
        " ".join(rng.choice(words, 4)) if n % 10 else "" for n in range(1, ITEMS + 1)
    ]
    raw = clean(
        pd.DataFrame(events, columns=["user", "item", "order"]),
        items,
        min_events=3,
        keep_unseen_items=True,
        source={"kind": "test"},
    )
    path = tmp_path_factory.mktemp("scoring") / "store"
    return LeaveOneOut(FeatureStore.create(path, raw))


@pytest.fixture(scope="session")
def vectors(shop: LeaveOneOut) -> TextVectors:
    """Random unit vectors in place of a table on disk; no text, no vector."""
    drawn = np.random.default_rng(7).normal(size=(ITEMS + 1, 8))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn[shop.store.item_texts == ""] = 0
    table: Any = SimpleNamespace(vectors=drawn.astype(np.float32), encoder="random")
    return table


_SCRIPT = Path(__file__).parents[2] / "benchmarks" / "local_endpoint.py"


@pytest.fixture(scope="session")
def local_endpoint() -> Any:
    """The script benchmarks/local_endpoint.py as a module."""
    spec = importlib.util.spec_from_file_location("local_endpoint", _SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Served:
    """An endpoint in a thread of its own: `base_url`, `endpoint`, `log`, `stop()`."""

    def __init__(
        self,
        module: Any,
        log: Path,
        *,
        faults: float,
        latency: float,
        respond: Callable[..., None] | None,
    ) -> None:
        self._log = log
        self.endpoint = module.Endpoint(faults=faults, log=log)
        self.bodies: list[bytes] = []
        self.under_way = self.most_under_way = 0
        served, connections = self, []

        class Connection(module.Connection):  # type: ignore[name-defined, misc]
            def respond(self, method: str, path: str, body: bytes) -> None:
                served.bodies.append(body)
                served.under_way += 1
                served.most_under_way = max(served.most_under_way, served.under_way)
                (respond or module.Connection.respond)(self, method, path, body)

            def send(self, *response: Any) -> None:
                served.under_way -= 1
                super().send(*response)

            def connection_made(self, transport: Any) -> None:
                connections.append(transport)
                super().connection_made(transport)

        self._connections = connections
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        async def listen() -> Any:
            return await self._loop.create_server(
                lambda: Connection(self.endpoint, latency), "127.0.0.1", 0
            )

        future = asyncio.run_coroutine_threadsafe(listen(), self._loop)
        self._server = future.result(5)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"

    @property
    def log(self) -> list[dict[str, Any]]:
        """A dictionary for each request that came."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def stop(self) -> None:
        if not self._thread.is_alive():
            return

        async def close() -> None:
            self._server.close()
            for transport in self._connections:
                transport.abort()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.endpoint.log.close()


@pytest.fixture
def endpoint(local_endpoint: Any, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts endpoints: `endpoint(faults=0.0, latency=0.0, respond=None)`.

    `respond(connection, method, path, body)` takes the place of the endpoint's answer.
    """
    served: list[Served] = []

    def start(
        faults: float = 0.0,
        latency: float = 0.0,
        respond: Callable[..., None] | None = None,
    ) -> Served:
        log = tmp_path / f"endpoint-{len(served)}.jsonl"
        served.append(
            Served(local_endpoint, log, faults=faults, latency=latency, respond=respond)
        )
        return served[-1]

    yield start
    for each in served:
        each.stop()


#: settings of tests: impatient.
QUICK: dict[str, Any] = {"concurrency": 4, "timeout": 5.0, "backoff": 0.01}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Makes engines on one ledger: `engine(base_url, caps=None, price=None, **transport)`."""
    opened: list[Ledger] = []

    def make(
        base_url: str,
        *,
        caps: Caps | None = None,
        price: Price | None = None,
        ledger: Path | None = None,
        **transport: Any,
    ) -> Engine:
        opened.append(Ledger(ledger or tmp_path / "ledger.sqlite"))
        spent = opened[-1].totals()
        settings = TransportSettings(**QUICK | transport)
        return Engine(
            lambda: Client(
                base_url=base_url,
                timeout=settings.timeout,
                connections=settings.concurrency,
            ),
            opened[-1],
            spending=Spending(
                caps,
                price,
                requests=spent.requests,
                tokens=spent.prompt_tokens + spent.completion_tokens,
                usd=spent.usd,
            ),
            counter=TokenCounter("local"),
            settings=settings,
        )

    yield make
    for ledger in opened:
        ledger.close()


@dataclass(frozen=True)
class Plain:
    """A question of `steps` requests, one after the other."""

    name: str
    steps: int = 1

    def next(self, answers: Sequence[Answer]) -> Request | None:
        if len(answers) == self.steps or (answers and answers[-1].reason):
            return None
        schema = PromptTemplate.load("ranking").schema(2)
        body = {
            "model": "local",
            "messages": [{"role": "user", "content": f'{self.name}\n1: "a"\n2: "b"'}],
            "max_tokens": 20,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": schema},
            },
        }
        return Request(CHAT, body, attempt=len(answers))


@pytest.fixture(scope="session")
def plain() -> Callable[..., list[tuple[int, Plain]]]:
    """Makes questions: `plain(count, steps=1)`."""

    def make(count: int, steps: int = 1) -> list[tuple[int, Plain]]:
        return [(number, Plain(f"user {number}", steps)) for number in range(count)]

    return make


class Letters:
    """Counts letters: an encoder for tests, with zero vectors for empty texts."""

    name = "letters"

    def encode(
        self,
        texts: Sequence[str],
        *,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        counts = [[text.count(letter) for letter in "aeiou:;."] for text in texts]
        if progress:
            progress(len(texts), len(texts))
        return unit_rows(np.array(counts, np.float64))


@pytest.fixture(scope="session")
def letters() -> Letters:
    """An encoder that needs no model."""
    return Letters()
