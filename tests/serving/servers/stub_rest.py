"""TensorFlow Serving's REST interface over a `StubModel`."""

import base64
import contextlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf import json_format
from stub_model import INVALID, NOT_FOUND, Refusal
from tensorflow_serving.apis import get_model_metadata_pb2

from keras_sllmr.compat import tf
from keras_sllmr.io.tfrecord import example

_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?"
    r"(?::(classify|regress|predict)|/(metadata))?"
)
_HTTP = {
    INVALID: 400,
    NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
}


def answer(model, verb, path, body):
    """The JSON object that answers a request."""
    match = _PATH.fullmatch(path)
    if not match or bool(match[4]) != (verb == "POST"):
        raise Refusal(INVALID, f"Malformed request: {verb} {path}")
    name, version, label, method, metadata = match.groups()
    number = int(version) if version else None
    model.check(unquote(name), number, label and unquote(label))
    if metadata:
        return _metadata(model)
    if verb == "GET":
        status = {"error_code": "OK", "error_message": ""}
        return {
            "model_version_status": [
                {"version": str(model.version), "state": "AVAILABLE", "status": status}
            ]
        }
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Refusal(INVALID, f"JSON Parse error: {error}") from error
    if not isinstance(request, dict):
        raise Refusal(INVALID, f"JSON Value: {request} Is not object")
    if method == "predict":
        return _predict(model, request)
    return _of_examples(model, method, request)


def _metadata(model):
    found = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signatures.items():
        found.signature_def[name].CopyFrom(signature)
    shown = json_format.MessageToDict(
        found,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    return {
        "model_spec": {"name": model.name, "version": str(model.version)},
        "metadata": {"signature_def": shown},
    }


def _predict(model, request):
    signature = request.get("signature_name", "serving_default")
    if signature not in model.signatures:
        message = f'Serving signature name: "{signature}" not found in signature def'
        raise Refusal(INVALID, message)
    takes = model.signatures[signature].inputs
    if ("instances" in request) == ("inputs" in request):
        raise Refusal(INVALID, "Missing 'inputs' or 'instances' key")
    if "inputs" in request:
        given = request["inputs"]
        if not isinstance(given, dict) or set(given) == {"b64"}:
            given = {_only(takes): given}
        missing = set(takes) - set(given)
        if missing:
            raise Refusal(INVALID, f"Missing named input: {missing}")
        inputs = {name: _tensor(given[name], takes[name].dtype) for name in takes}
        outputs = model.predict(signature, inputs)
        shown = {name: _json(value) for name, value in outputs.items()}
        return {"outputs": shown if len(shown) > 1 else next(iter(shown.values()))}
    rows = request["instances"]
    if not isinstance(rows, list) or not rows:
        raise Refusal(INVALID, "No values in 'instances' array")
    if not isinstance(rows[0], dict) or set(rows[0]) == {"b64"}:
        rows = [{_only(takes): row} for row in rows]
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or set(row) != set(takes):
            message = f"Failed to process element: {number} of 'instances' list. "
            raise Refusal(INVALID, f"{message}keys must be equal to: {sorted(takes)}")
    inputs = {
        name: _tensor([row[name] for row in rows], info.dtype)
        for name, info in takes.items()
    }
    outputs = model.predict(signature, inputs)
    shown = {name: _json(value) for name, value in outputs.items()}
    if len(shown) == 1:
        return {"predictions": next(iter(shown.values()))}
    return {
        "predictions": [
            {name: values[number] for name, values in shown.items()}
            for number in range(len(rows))
        ]
    }


def _only(takes):
    if len(takes) > 1:
        raise Refusal(INVALID, "a plain list, but multiple input tensors required")
    return next(iter(takes))


def _tensor(values, dtype):
    """As `FillTensorProto`: the first element of each level says its length."""
    shape, inner = [], values
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat = []

    def fill(value, level):
        if not isinstance(value, list):
            if level != len(shape):
                raise Refusal(INVALID, f"JSON Value: {value} found at incorrect level")
            flat.append(_value(value, dtype))
            return
        if level >= len(shape) or len(value) != shape[level]:
            message = f"Encountered list at unexpected size: {len(value)}"
            raise Refusal(INVALID, f"{message} at level: {level}")
        for item in value:
            fill(item, level + 1)

    fill(values, 0)
    return np.array(flat, tf.as_dtype(dtype).as_numpy_dtype).reshape(shape)


def _value(value, dtype):
    kind = tf.as_dtype(dtype).name
    if isinstance(value, dict) and set(value) == {"b64"} and kind == "string":
        return base64.b64decode(value["b64"])
    expected = {"string": str, "int32": int, "float32": (int, float)}[kind]
    if isinstance(value, bool) or not isinstance(value, expected):
        message = f"JSON Value: {value} is not of expected type: {kind}"
        raise Refusal(INVALID, message)
    return value.encode() if isinstance(value, str) else value


def _json(array):
    if array.dtype == object:
        texts = [value.decode() for value in array.flat]
        return np.array(texts, object).reshape(array.shape).tolist()
    return array.tolist()


def _of_examples(model, method, request):
    rows = request.get("examples")
    if not isinstance(rows, list) or not rows:
        raise Refusal(INVALID, "'examples' is expected to be a filled array")
    try:
        serialised = [example(**_filled(row)) for row in rows]
    except (AttributeError, TypeError, ValueError) as error:
        raise Refusal(INVALID, f"unexpected JSON type: {error}") from error
    signature = request.get("signature_name", "")
    found = model.of_examples(method, signature, serialised)
    if method == "regress":
        return {"results": [float(value) for (value,) in found["outputs"]]}
    return {
        "results": [
            [[label.decode(), float(score)] for label, score in zip(*row, strict=True)]
            for row in zip(found["classes"], found["scores"], strict=True)
        ]
    }


def _filled(row):
    # A feature of no values has no type there, and counts as missing.
    return {name: value for name, value in row.items() if value != []}


@contextlib.contextmanager
def serve_rest(model, context=None):
    """Serves a model on a free port; yields the port. `context` is for TLS."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self):
            self._respond("GET", b"")

        def do_POST(self):
            length = int(self.headers["Content-Length"])
            self._respond("POST", self.rfile.read(length))

        def _respond(self, verb, body):
            code = 200
            try:
                found = answer(model, verb, self.path, body)
            except Refusal as refusal:
                code = _HTTP.get(refusal.code, 500)
                found = {"error": refusal.message}
            sent = json.dumps(found).encode()
            # A client that gave up has closed the connection.
            with contextlib.suppress(ConnectionError):
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
