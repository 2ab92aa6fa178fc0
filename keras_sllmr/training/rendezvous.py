"""Waiting for the other processes of a cluster, with an end: TensorFlow's has none."""

import contextlib
import socket
import time
from collections.abc import Sequence

from keras_sllmr.errors import EndpointError

_EVERY = 0.1
_READY = b"ready"


def meet(addresses: Sequence[str], index: int, *, timeout: float) -> None:
    """Returns once all workers have called it; the first one's address is the place.

    It listens on the port that TensorFlow takes over afterwards.

    Args:
        addresses: `host:port` of each worker, the same everywhere.
        index: int. Which of them this process is.
        timeout: float. Seconds to wait.

    Raises:
        EndpointError: naming those who did not come.
    """
    end = time.monotonic() + timeout
    if index:
        _report(addresses, index, end, timeout)
    elif len(addresses) > 1:
        _receive(addresses, end, timeout)


def await_servers(addresses: Sequence[str], *, timeout: float) -> None:
    """Returns once each of the servers takes connections.

    Args:
        addresses: `host:port` of each.
        timeout: float. Seconds to wait for all.

    Raises:
        EndpointError: naming the first that does not.
    """
    end = time.monotonic() + timeout
    for address in addresses:
        while True:
            with contextlib.suppress(OSError), _connection(address, end):
                break
            if time.monotonic() > end:
                raise _missing([address], timeout)
            time.sleep(_EVERY)


def _receive(addresses: Sequence[str], end: float, timeout: float) -> None:
    missing = set(range(1, len(addresses)))
    with contextlib.ExitStack() as stack:
        try:
            server = socket.create_server(("", int(addresses[0].rpartition(":")[2])))
        except OSError as error:
            raise EndpointError(
                f"Could not listen on {addresses[0]}: {error.strerror}. Is it this "
                "machine's, and the port free?"
            ) from error
        stack.enter_context(server)
        came = []
        while missing:
            try:
                server.settimeout(max(_EVERY, end - time.monotonic()))
                connection, _ = server.accept()
                stack.enter_context(connection)
                connection.settimeout(1)
                who = int(connection.makefile("rb").readline() or -1)
            except (OSError, ValueError):  # too late, or a stranger
                if time.monotonic() > end:
                    late = [addresses[k] for k in sorted(missing)]
                    raise _missing(late, timeout) from None
                continue
            missing.discard(who)
            came.append(connection)
        for connection in came:
            with contextlib.suppress(OSError):
                connection.sendall(_READY)


def _report(addresses: Sequence[str], index: int, end: float, timeout: float) -> None:
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            _connection(addresses[0], end) as connection,
        ):
            connection.sendall(f"{index}\n".encode())
            if connection.recv(len(_READY)) == _READY:
                return
        time.sleep(_EVERY)
    raise _missing([f"{addresses[0]}, or another worker"], timeout)


def _connection(address: str, end: float) -> socket.socket:
    host, _, port = address.rpartition(":")
    left = max(_EVERY, end - time.monotonic())
    return socket.create_connection((host, int(port)), timeout=left)


def _missing(addresses: Sequence[str], timeout: float) -> EndpointError:
    return EndpointError(
        "All processes that TF_CONFIG names must be started. Received within "
        f"{timeout:g} s: nothing of {', '.join(addresses)}. Start them, or wait longer."
    )
