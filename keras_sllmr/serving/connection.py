"""A connection to a model server: its address, its timeouts and its retries."""

import random
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.serving.grpc_transport import GrpcTransport
from keras_sllmr.serving.rest_transport import RestTransport
from keras_sllmr.serving.served_model import ServedModel, Transport, Unavailable

_PAUSE = 0.05
_Answer = TypeVar("_Answer")


class Connection:
    """Asks a server within a time, and again when it is unavailable.

    Args:
        url: see `RankClient`, as all the others.
        model: which model.
        timeout: float > 0, seconds.
        retries: int ≥ 0.
        headers: of each request.
        ca: PEM file, or none.
        certificate: PEM files, or none.

    Raises:
        ConfigError: when an argument breaks its rule, or a file is missing.
    """

    def __init__(
        self,
        url: str,
        model: ServedModel,
        *,
        timeout: float,
        retries: int,
        headers: Mapping[str, str],
        ca: str | Path | None,
        certificate: tuple[str | Path, str | Path] | None,
    ) -> None:
        if not re.fullmatch(r"grpcs?://[^/]+:\d+|https?://[^/]+.*", url):
            raise ConfigError(
                "`url` must be grpc://host:port, grpcs://host:port, http://host:port "
                f"or https://host. Received: {url!r}"
            )
        model.check()
        if not timeout > 0:
            raise ConfigError(f"`timeout` must be positive. Received: {timeout}")
        if retries < 0:
            raise ConfigError(f"`retries` must not be negative. Received: {retries}")
        self.url, self._timeout, self._retries = url, timeout, retries
        self._transport: Transport | None = None
        kind = GrpcTransport if url.startswith("grpc") else RestTransport
        pair = (Path(certificate[0]), Path(certificate[1])) if certificate else None
        try:
            self._transport = kind(url, model, headers, Path(ca) if ca else None, pair)
        except OSError as error:
            raise ConfigError(
                f"`ca` and `certificate` must name PEM files. Received: {error}"
            ) from error

    def deadline(self) -> float:
        """When a call that starts now has to have ended, by the monotonic clock."""
        return time.monotonic() + self._timeout

    def call(
        self, ask: Callable[[Transport, float], _Answer], deadline: float
    ) -> _Answer:
        """What `ask` gives of the transport and of the seconds left.

        Raises:
            ConfigError: when the connection is closed.
            EndpointError: as the transport's, or when the time is over.
        """
        if self._transport is None:
            raise ConfigError("This client is closed. Make a new one.")
        tries = 0
        while True:
            try:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                return ask(self._transport, left)
            except TimeoutError as error:
                raise EndpointError(
                    f"{self.url} did not answer within {self._timeout:.3g} s. Raise "
                    "`timeout`, send fewer candidates, or give the server more cores "
                    "or warm-up records."
                ) from error
            except Unavailable:
                # Not all at the same moment, when a server comes back.
                pause = _PAUSE * 2**tries * random.uniform(0.5, 1)
                if tries == self._retries or time.monotonic() + pause >= deadline:
                    raise
                time.sleep(pause)
                tries += 1

    def close(self) -> None:
        """Closes the transport."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
