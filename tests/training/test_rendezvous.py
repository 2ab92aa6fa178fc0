import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from keras_sllmr.errors import EndpointError
from keras_sllmr.training.rendezvous import await_servers, meet


@pytest.fixture
def addresses() -> list[str]:
    found = []
    for _ in range(3):
        with socket.socket() as one:
            one.bind(("localhost", 0))
            found.append(f"localhost:{one.getsockname()[1]}")
    return found


def _stranger(address: str) -> Any:
    host, _, port = address.rpartition(":")
    for _ in range(50):
        try:
            with socket.create_connection((host, int(port))) as one:
                one.sendall(b"PRI * HTTP/2.0\r\n")
            return
        except OSError:
            time.sleep(0.02)


def test_all_meet_whoever_comes_first(addresses: list[str]) -> None:
    with ThreadPoolExecutor(4) as pool:
        waits = [pool.submit(meet, addresses, k, timeout=20) for k in (2, 0)]
        pool.submit(_stranger, addresses[0]).result()
        time.sleep(0.2)
        assert not any(wait.done() for wait in waits)
        waits.append(pool.submit(meet, addresses, 1, timeout=20))
        for wait in waits:
            wait.result(timeout=20)
    meet(addresses[:1], 0, timeout=0)


def test_those_who_do_not_come_are_named(addresses: list[str]) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(meet, addresses, 0, timeout=0.6)
        second = pool.submit(meet, addresses, 1, timeout=0.6)
        with pytest.raises(EndpointError, match=f"0.6 s: nothing of {addresses[2]}."):
            first.result()
        with pytest.raises(EndpointError, match=f"nothing of {addresses[0]}, or"):
            second.result()


def test_a_port_that_is_taken(addresses: list[str]) -> None:
    with (
        socket.create_server(("", int(addresses[0].split(":")[1]))),
        pytest.raises(EndpointError, match="Could not listen on .* port free"),
    ):
        meet(addresses, 0, timeout=1)


def test_servers(addresses: list[str]) -> None:
    with socket.create_server(("localhost", int(addresses[0].split(":")[1]))):
        await_servers(addresses[:1], timeout=5)
        with pytest.raises(EndpointError, match=f"nothing of {addresses[1]}"):
            await_servers(addresses[:2], timeout=0.2)
