"""Requests to TensorFlow Serving over REST."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import numpy as np

from keras_sllmr.serving.served_model import (
    ServedModel,
    Signature,
    TensorInfo,
    no_answer,
    refused,
    unreachable,
)

_DTYPES = {"DT_FLOAT": "float32", "DT_INT32": "int32", "DT_STRING": "string"}
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
}


class RestTransport:
    """`:predict`, `/metadata` and the status of one model.

    Args:
        url: `http://host:port` or `https://…`, with the path in front of `/v1`, if any.
        model: which model.
        headers: headers of every request.
        ca: PEM file of the authorities to trust. Defaults to the system's.
        certificate: PEM files of this client's certificate and key. Defaults to none.
    """

    def __init__(
        self,
        url: str,
        model: ServedModel,
        headers: Mapping[str, str],
        ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self._url, self._model = url.rstrip("/"), model
        self._base = f"{self._url}/v1/models/{quote(model.name, safe='')}"
        if model.version is not None:
            self._base += f"/versions/{model.version}"
        if model.label is not None:
            self._base += f"/labels/{quote(model.label, safe='')}"
        verify: ssl.SSLContext | bool = True
        if url.startswith("https://") and (ca or certificate):
            verify = ssl.create_default_context(cafile=ca)
            if certificate:
                verify.load_cert_chain(*certificate)
        self._http = httpx2.Client(headers=dict(headers), verify=verify)

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature."""
        body = {
            "signature_name": signature,
            "inputs": {name: array.tolist() for name, array in inputs.items()},
        }
        # NaN, a missing number, is as TensorFlow Serving reads and writes it.
        sent = json.dumps(body, separators=(",", ":")).encode()
        answer = self._call("POST", ":predict", timeout, sent)
        try:
            return {name: _array(values) for name, values in answer["outputs"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise no_answer(self._url, f"{answer}") from error

    def signatures(self, timeout: float) -> dict[str, Signature]:
        """The model's signatures by their names."""
        answer = self._call("GET", "/metadata", timeout)
        try:
            found = answer["metadata"]["signature_def"]["signature_def"]
            return {
                name: Signature(
                    entry["method_name"],
                    _tensors(entry["inputs"]),
                    _tensors(entry["outputs"]),
                )
                for name, entry in found.items()
                if entry["method_name"]  # else it is the loader's own
            }
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise no_answer(self._url, f"{answer}") from error

    def status(self, timeout: float) -> dict[int, str]:
        """The state of every version that the server knows."""
        answer = self._call("GET", "", timeout)
        try:
            versions = answer["model_version_status"]
            return {int(entry["version"]): entry["state"] for entry in versions}
        except (KeyError, TypeError, ValueError) as error:
            raise no_answer(self._url, f"{answer}") from error

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _call(
        self, method: str, path: str, timeout: float, body: bytes | None = None
    ) -> Any:
        try:
            answer = self._http.request(
                method,
                self._base + path,
                content=body,
                headers={"Content-Type": "application/json"},
                timeout=timeout,
            )
        except httpx2.TimeoutException as error:
            raise TimeoutError from error
        except httpx2.TransportError as error:
            raise unreachable(self._url, str(error)) from error
        if answer.status_code == 503:
            raise unreachable(self._url, _said(answer))
        if answer.status_code == 504:
            raise TimeoutError
        if answer.status_code != 200:
            code = _CODES.get(answer.status_code, f"HTTP {answer.status_code}")
            raise refused(self._url, code, _said(answer), self._model)
        try:
            return json.loads(answer.content)
        except ValueError as error:
            raise no_answer(self._url, answer.text) from error


def _said(answer: Any) -> str:
    try:
        return str(json.loads(answer.content)["error"])
    except (KeyError, TypeError, ValueError):
        return str(answer.text)


def _array(values: Any) -> np.ndarray:
    """Numbers or texts, of a shape that also tells [[], []] from []."""
    shape, inner = [], values
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    array = np.array(values, object)
    if list(array.shape) != shape:
        raise ValueError("Rows of different lengths.")
    if isinstance(inner, int | float):
        return array.astype(np.int32 if isinstance(inner, int) else np.float32)
    return array


def _tensors(entries: Mapping[str, Any]) -> dict[str, TensorInfo]:
    return {
        name: TensorInfo(
            _DTYPES.get(entry["dtype"], entry["dtype"]),
            tuple(int(dim["size"]) for dim in entry["tensor_shape"]["dim"]),
        )
        for name, entry in entries.items()
    }
