import asyncio
import importlib.util
import json
import threading
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).parents[3] / "benchmarks" / "local_endpoint.py"


@pytest.fixture(scope="session")
def local_endpoint():
    """The script benchmarks/local_endpoint.py as a module."""
    spec = importlib.util.spec_from_file_location("local_endpoint", _SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Served:
    """An endpoint in a thread of its own: `base_url`, `endpoint`, `log`, `stop()`."""

    def __init__(self, module, log, *, faults, latency):
        self._log = log
        self.endpoint = module.Endpoint(faults=faults, log=log)
        self._connections = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

        def connection():
            self._connections.append(module.Connection(self.endpoint, latency))
            return self._connections[-1]

        async def listen():
            return await self._loop.create_server(connection, "127.0.0.1", 0)

        future = asyncio.run_coroutine_threadsafe(listen(), self._loop)
        self._server = future.result(5)
        port = self._server.sockets[0].getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}/v1"

    @property
    def log(self):
        """A dictionary for each request that was answered."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def stop(self):
        if not self._thread.is_alive():
            return

        async def close():
            self._server.close()
            for connection in self._connections:
                connection.transport.abort()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.endpoint.log.close()


@pytest.fixture
def endpoint(local_endpoint, tmp_path):
    """Starts endpoints on this machine: `endpoint(faults=0.0, latency=0.0)`."""
    served = []

    def start(faults=0.0, latency=0.0):
        log = tmp_path / f"endpoint-{len(served)}.jsonl"
        served.append(Served(local_endpoint, log, faults=faults, latency=latency))
        return served[-1]

    yield start
    for each in served:
        each.stop()
