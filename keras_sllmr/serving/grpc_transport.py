"""Requests to TensorFlow Serving over gRPC."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from keras_sllmr.serving import serving_messages
from keras_sllmr.serving.served_model import (
    ServedModel,
    Signature,
    TensorInfo,
    no_answer,
    refused,
    unreachable,
)
from keras_sllmr.serving.serving_messages import DTYPES, message

_OPTIONS = [
    # As TensorFlow Serving itself: 100,000 candidates are a few megabytes.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A retry within a timeout below a second has to reconnect in time.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_STATES = {
    0: "UNKNOWN",
    10: "START",
    20: "LOADING",
    30: "AVAILABLE",
    40: "UNLOADING",
    50: "END",
}


class GrpcTransport:
    """Predict, GetModelMetadata and GetModelStatus of one model.

    Args:
        url: `grpc://host:port`, or `grpcs://…` for TLS.
        model: which model.
        headers: metadata of every call.
        ca: PEM file of the authorities to trust. Defaults to those of gRPC.
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
        self._url, self._model = url, model
        self._headers = [(name.lower(), value) for name, value in headers.items()]
        scheme, target = url.split("://")
        if scheme == "grpc":
            self._channel = grpc.insecure_channel(target, options=_OPTIONS)
        else:
            chain, key = certificate or (None, None)
            credentials = grpc.ssl_channel_credentials(
                root_certificates=ca.read_bytes() if ca else None,
                private_key=key.read_bytes() if key else None,
                certificate_chain=chain.read_bytes() if chain else None,
            )
            self._channel = grpc.secure_channel(target, credentials, options=_OPTIONS)

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], timeout: float
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature."""
        request = message("PredictRequest", model_spec=self._spec(signature))
        for name, array in inputs.items():
            request.inputs.add(key=name, value=serving_messages.tensor(array))
        answer = self._call("PredictionService/Predict", request, timeout)
        try:
            return {
                output.key: serving_messages.array(output.value)
                for output in answer.outputs
            }
        except (ValueError, IndexError) as error:
            raise no_answer(self._url, str(error)) from error

    def signatures(self, timeout: float) -> dict[str, Signature]:
        """The model's signatures by their names."""
        request = message(
            "GetModelMetadataRequest",
            model_spec=self._spec(),
            metadata_field=["signature_def"],
        )
        answer = self._call("PredictionService/GetModelMetadata", request, timeout)
        packed = {entry.key: entry.value.value for entry in answer.metadata}
        found = serving_messages.parse(
            "SignatureDefMap", packed.get("signature_def", b"")
        )
        return {
            entry.key: Signature(
                entry.value.method_name,
                _tensors(entry.value.inputs),
                _tensors(entry.value.outputs),
            )
            for entry in found.signature_def
            if entry.value.method_name  # else it is the loader's own
        }

    def status(self, timeout: float) -> dict[int, str]:
        """The state of every version that the server knows."""
        request = message("GetModelStatusRequest", model_spec=self._spec())
        answer = self._call("ModelService/GetModelStatus", request, timeout)
        return {
            version.version: _STATES.get(version.state, str(version.state))
            for version in answer.model_version_status
        }

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def _spec(self, signature: str = "") -> Any:
        spec = message(
            "ModelSpec", name=self._model.name, signature_name=signature or None
        )
        if self._model.version is not None:
            spec.version.value = self._model.version
        if self._model.label is not None:
            spec.version_label = self._model.label
        return spec

    def _call(self, method: str, request: Any, timeout: float) -> Any:
        response = type(request).DESCRIPTOR.name.replace("Request", "Response")
        call = self._channel.unary_unary(
            f"/tensorflow.serving.{method}",
            request_serializer=lambda sent: sent.SerializeToString(),
            response_deserializer=lambda data: serving_messages.parse(response, data),
        )
        try:
            return call(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _error(self, error: Any) -> Exception:
        code, said = error.code().name, error.details()
        if code == "DEADLINE_EXCEEDED":
            return TimeoutError()
        if code == "UNAVAILABLE":
            return unreachable(self._url, said)
        if code == "UNIMPLEMENTED":
            return no_answer(self._url, said)
        return refused(self._url, code, said, self._model)


def _tensors(entries: Any) -> dict[str, TensorInfo]:
    names = {number: name for name, number in DTYPES.items()}
    return {
        entry.key: TensorInfo(
            names.get(entry.value.dtype, f"type {entry.value.dtype}"),
            tuple(dim.size for dim in entry.value.tensor_shape.dim),
        )
        for entry in entries
    }
