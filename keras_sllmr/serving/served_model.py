"""A model as a server names and describes it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from keras_sllmr.errors import ConfigError, EndpointError


class ServedModel(NamedTuple):
    """Which model of a server: its name, and a version or a label of one.

    Args:
        name: str. The model's name.
        version: int ≥ 1. Defaults to the latest one that is loaded.
        label: str. A version's label in the server's models.config. Defaults to none.
    """

    name: str
    version: int | None = None
    label: str | None = None

    def check(self) -> None:
        """Raises `ConfigError` on an empty name, a version below 1, or both choices."""
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(
                f"`model` must be the served model's name. Received: {self.name!r}"
            )
        if self.version is not None and self.label is not None:
            raise ConfigError(
                "A model is chosen by `version` or by `label`, not by both. Received: "
                f"version={self.version}, label={self.label!r}"
            )
        if self.version is not None and self.version < 1:
            raise ConfigError(
                f"`version` must be at least 1. Received: version={self.version}"
            )
        if self.label == "":
            raise ConfigError("`label` must not be empty. Leave it out for none.")


class TensorInfo(NamedTuple):
    """An input or output: its type by NumPy's name ("string" for text) and its shape.

    −1 in a shape means any size.
    """

    dtype: str
    shape: tuple[int, ...]


class Signature(NamedTuple):
    """A signature of a served model: its method, inputs and outputs by their names."""

    method: str
    inputs: dict[str, TensorInfo]
    outputs: dict[str, TensorInfo]


class Transport(Protocol):
    """How requests get to a server and its answers back.

    Every call takes the seconds it may last, and raises `TimeoutError` after them,
    `Unavailable` when it is worth another try, or another `EndpointError`.
    """

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature; text is in arrays of objects."""

    def signatures(self, timeout: float) -> dict[str, Signature]:
        """The model's signatures by their names."""

    def status(self, timeout: float) -> dict[int, str]:
        """The state of every version that the server knows, "AVAILABLE" and others."""

    def close(self) -> None:
        """Closes the connections."""


class Unavailable(EndpointError):
    """The server cannot be reached or is not ready, so that a retry makes sense."""


def unreachable(url: str, said: str) -> Unavailable:
    """The error of a server that is down, or of an address without one."""
    return Unavailable(
        f"{url} cannot be reached: {first_line(said)}. Is the server running, and is "
        "this the right port? TensorFlow Serving's are 8500 for gRPC and 8501 for REST."
    )


def refused(url: str, code: str, said: str, model: ServedModel) -> EndpointError:
    """The error of a server that does not serve a request.

    Args:
        url: the server's address.
        code: the status, as a word.
        said: the server's message.
        model: which model was asked.
    """
    if code == "NOT_FOUND":
        do = f"Is {model.name!r} served there, in this version? See the server's log."
    elif code == "RESOURCE_EXHAUSTED":
        do = "The server is overloaded, or the request too large: send fewer at once."
    elif code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        do = "Check `headers` and `certificate`."
    else:
        do = "Check the request against `metadata()`, which says what the model takes."
    return EndpointError(f"{url} refused a request ({code}): {first_line(said)}. {do}")


def no_answer(url: str, what: str) -> EndpointError:
    """The error of an address where something else answers."""
    return EndpointError(
        f"{url} gave an answer that is not TensorFlow Serving's: {first_line(what)}. "
        "Is another service there, or a proxy between?"
    )


def first_line(said: Any) -> str:
    """A message's first line, at most 300 characters, without its full stop."""
    lines = str(said).strip().splitlines() or ["no message"]
    return lines[0][:300].rstrip(".")
