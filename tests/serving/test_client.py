"""The client where the server is down, busy, slow, or no model server at all."""

import json
import ssl
import subprocess
import sys
import threading
import time
from concurrent import futures
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import grpc
import pytest

from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.serving import connection
from keras_sllmr.serving.client import RankClient
from keras_sllmr.serving.served_model import Unavailable

sys.path.insert(0, str(Path(__file__).parent / "servers"))
from stub_grpc import serve_grpc
from stub_rest import serve_rest

MODEL = SimpleNamespace(
    name="shop", version=1, signatures={}, check=lambda *args, **kwargs: None
)
OK = {"model_version_status": [{"version": "3", "state": "AVAILABLE"}]}
STRINGS = {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1"}] * 2}}
RANK = {
    "metadata": {
        "signature_def": {
            "signature_def": {
                "rank": {
                    "method_name": "tensorflow/serving/predict",
                    "inputs": {
                        "candidates": STRINGS,
                        "history": STRINGS,
                        "k": {
                            "dtype": "DT_INT32",
                            "tensor_shape": {"dim": [{"size": "-1"}]},
                        },
                    },
                    "outputs": {},
                }
            }
        }
    }
}


@pytest.fixture
def scripted():
    """A web server that gives the answers it is told to, and notes the requests."""

    @contextmanager
    def serve(*answers):
        left, seen = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                length = int(self.headers.get("Content-Length", 0))
                body = self.rfile.read(length)
                seen.append((self.path, dict(self.headers), body))
                status, body = left.pop(0) if left else (200, OK)
                sent = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_POST = do_GET

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", seen
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    return serve


@pytest.fixture(scope="module")
def unused():
    """A port on which nobody listens."""
    with serve_grpc(MODEL) as port:
        pass
    return port


def test_tensorflow_is_not_imported():
    code = """
import sys
from keras_sllmr import RankClient
from keras_sllmr.errors import EndpointError
for url in "grpc://127.0.0.1:9", "http://127.0.0.1:9":
    try:
        RankClient(url, "shop", timeout=0.2).rank(["a"], ["b"])
    except EndpointError as error:
        assert "cannot be reached" in str(error), error
    else:
        raise AssertionError
print(sorted({"tensorflow", "tf_keras", "tensorflow_serving"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:8500"}, "`url` must be grpc://host:port"),
        ({"url": "grpc://localhost"}, "`url` must be grpc://host:port"),
        ({"url": "ftp://localhost:1"}, "`url` must be grpc://host:port"),
        ({"model": ""}, "`model` must be the served model's name"),
        ({"version": 0}, "`version` must be at least 1"),
        ({"version": 1, "label": "stable"}, "by `version` or by `label`, not by both"),
        ({"label": ""}, "`label` must not be empty"),
        ({"timeout": 0}, "`timeout` must be positive"),
        ({"timeout": float("nan")}, "`timeout` must be positive"),
        ({"retries": -1}, "`retries` must not be negative"),
        ({"widths": {"history": -1}}, "`widths` must not be negative"),
        ({"url": "grpcs://localhost:1", "ca": "none.pem"}, "must name PEM files"),
        ({"url": "https://localhost:1", "ca": "none.pem"}, "must name PEM files"),
        ({"url": "https://a:1", "certificate": ("a.pem", "b.pem")}, "must name PEM"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ConfigError, match=message):
        RankClient(**{"url": "grpc://localhost:1", "model": "shop", **arguments})


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_nobody_listens(scheme, unused):
    started = time.monotonic()
    with RankClient(f"{scheme}://127.0.0.1:{unused}", "shop", timeout=5) as client:
        down = r"cannot be reached: .*Is the server running.*8500 for gRPC and 8501"
        with pytest.raises(EndpointError, match=down):
            client.rank(["a"], ["b"])
    assert time.monotonic() - started < 3


def test_server_that_comes_back():
    """The same channel connects again, and soon."""
    with serve_grpc(MODEL) as port:
        url = f"grpc://127.0.0.1:{port}"
        client = RankClient(url, "shop", timeout=10, retries=20)
        assert client.status() == {1: "AVAILABLE"}
    with pytest.raises(EndpointError, match="cannot be reached"):
        RankClient(url, "shop").status()
    with serve_grpc(MODEL, port=port):
        started = time.monotonic()
        assert client.status() == {1: "AVAILABLE"}
        assert time.monotonic() - started < 3


def test_closed_client():
    client = RankClient("grpc://127.0.0.1:1", "shop")
    client.close()
    client.close()
    with pytest.raises(ConfigError, match="This client is closed"):
        client.status()


def test_only_what_is_unavailable_is_tried_again(scripted):
    busy = 503, {"error": "Model labels does not init yet."}
    with scripted(busy, busy) as (url, seen), RankClient(url, "shop") as client:
        assert client.status() == {3: "AVAILABLE"}
        assert len(seen) == 3
    with scripted(busy, busy, busy) as (url, seen), RankClient(url, "m") as client:
        with pytest.raises(EndpointError, match="Model labels does not init yet"):
            client.status()
        assert len(seen) == 3
    for status in 400, 404, 429, 500, 502, 504:
        with scripted((status, {"error": "no"})) as (url, seen):
            with RankClient(url, "m") as client, pytest.raises(EndpointError):
                client.status()
            assert len(seen) == 1


def test_retries_end_with_the_time(monkeypatch):
    monkeypatch.setattr(connection, "_PAUSE", 0.2)
    client = RankClient("grpc://127.0.0.1:1", "shop", timeout=0.3, retries=50)
    asked = []

    def ask(server, left):
        asked.append(left)
        raise Unavailable("down")

    with pytest.raises(Unavailable, match="down"):
        client._connection.call(ask, client._connection.deadline())
    assert 1 <= len(asked) <= 3 and asked == sorted(asked, reverse=True)
    with pytest.raises(EndpointError, match=r"did not answer within 0\.3 s"):
        client._connection.call(ask, time.monotonic())
    client.close()


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (200, b"<html>hello</html>", "not TensorFlow Serving's: <html>hello</html>"),
        (200, {}, "not TensorFlow Serving's"),
        (200, [1], "not TensorFlow Serving's"),
        (502, b"<html>Bad gateway", r"refused a request \(HTTP 502\): <html>Bad gatew"),
        (404, {"error": "Servable not found\nat ..."}, r"\(NOT_FOUND\): Servable not "),
        (400, {"error": "no"}, r"\(INVALID_ARGUMENT\): no\. Check .*`metadata\(\)`"),
        (401, b"", r"\(UNAUTHENTICATED\): no message. Check `headers`"),
        (429, b"", r"\(RESOURCE_EXHAUSTED\)"),
        (504, b"", "did not answer within 0.5 s"),
    ],
)
def test_answers_of_other_kinds(status, body, message, scripted):
    with scripted((status, body), (status, body)) as (url, _):
        client = RankClient(url, "shop")
        for call in client.status, lambda: client.rank([], ["a"]):
            with pytest.raises(EndpointError, match=message):
                call()


@pytest.mark.parametrize(
    "outputs",
    [
        {"top_item_id": [["a"]]},
        {"top_item_id": [["a"]], "top_score": [[0.5, 0.4]]},
        {"top_item_id": [["a"], ["b", "c"]], "top_score": [[0.5]]},
        ["a"],
    ],
)
def test_answers_that_rank_nothing(outputs, scripted):
    answers = (200, RANK), (200, {"outputs": outputs})
    with scripted(*answers) as (url, _):
        client = RankClient(url, "shop")
        with pytest.raises(EndpointError, match="not TensorFlow Serving's"):
            client.rank([], ["a"])


def test_batches_of_a_server_may_return_more(scripted):
    """K is the largest `k` of a batch, and another request's candidates pad."""
    top = {
        "top_item_id": [["b", "a", ""], ["a", "", ""]],
        "top_score": [[0.5, 0.25, 0.0], [0.75, 0.0, 0.0]],
    }
    answers = (200, RANK), (200, {"outputs": top}), (400, {}), (200, RANK)
    with scripted(*answers) as (url, seen), RankClient(url, "shop") as client:
        found = client.rank_many([["x"], []], [["a", "b"], ["a"]], k=1)
        assert found == [[("b", 0.5)], [("a", 0.75)]]
        assert [path for path, _, _ in seen] == [
            "/v1/models/shop/metadata",
            "/v1/models/shop:predict",
        ]
        assert json.loads(seen[1][2]) == {
            "signature_name": "rank",
            "inputs": {
                "candidates": [["a", "b"], ["a", ""]],
                "history": [["x"], [""]],
                "k": [1, 1],
            },
        }
        # Refused: perhaps another version is served by now.
        with pytest.raises(EndpointError):
            client.rank([], ["a"])
        with pytest.raises(EndpointError):
            client.rank([], ["a"])
        assert seen[3][0] == "/v1/models/shop/metadata"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"histories": [["a"]]}, "one of 'history' for each of the 2 users .*: 1"),
        ({"user_ids": ["u"]}, "one of 'user_ids' for each of the 2 users .*: 1"),
        ({"columns": {"age": [1, 2]}}, "but it reads none. Received: age"),
        ({"k": 1.5}, "`k` must be an int"),
    ],
)
def test_arguments_that_do_not_fit(arguments, message, scripted):
    given = {"histories": [[], []], "candidates": [["a"], ["b"]], **arguments}
    with scripted((200, RANK)) as (url, seen), RankClient(url, "shop") as client:
        with pytest.raises(ConfigError, match=message):
            client.rank_many(**given)
        assert len(seen) == 1


def test_signature_and_widths_must_be_there(scripted):
    for options, message in (
        ({"signature": "classify"}, "the served model has rank. Received: 'classify'"),
        ({"widths": {"k": 3}}, "lists, candidates, history. Received: k"),
        ({"widths": {"tags": 3}}, "lists, candidates, history. Received: tags"),
    ):
        with scripted((200, RANK)) as (url, _):
            client = RankClient(url, "shop", **options)
            with pytest.raises(ConfigError, match=message):
                client.rank([], ["a"])


def test_inputs_of_a_later_kind(scripted):
    odd = json.loads(json.dumps(RANK))
    signature = odd["metadata"]["signature_def"]["signature_def"]["rank"]
    signature["inputs"]["x"] = {"dtype": "DT_INT64", "tensor_shape": {"dim": []}}
    with scripted((200, odd)) as (url, _), RankClient(url, "shop") as client:
        assert client.metadata()["rank"].inputs["x"] == ("DT_INT64", ())
    with scripted((200, odd)) as (url, _):
        client = RankClient(url, "shop")
        with pytest.raises(ConfigError, match="'x' is DT_INT64 of rank 0: this client"):
            client.rank([], ["a"])


def test_path_and_headers(scripted):
    with scripted() as (url, seen):
        client = RankClient(
            f"{url}/gateway/", "my shop", label="a/b", headers={"X-Token": "secret"}
        )
        with client:
            client.status()
    path, headers, _ = seen[0]
    assert path == "/gateway/v1/models/my%20shop/labels/a%2Fb"
    assert headers["X-Token"] == "secret"


def test_ports_that_are_mixed_up(scripted):
    hint = pytest.raises(EndpointError, match="8500 for gRPC and 8501 for REST")
    with serve_grpc(MODEL) as port, hint:
        RankClient(f"http://127.0.0.1:{port}", "m").status()
    hint = pytest.raises(EndpointError, match="8500 for gRPC|did not answer")
    with scripted() as (url, _), hint:
        RankClient(url.replace("http", "grpc"), "m").status()


def test_other_grpc_service():
    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = RankClient(f"grpc://127.0.0.1:{port}", "m", timeout=5)
    with pytest.raises(EndpointError, match="Is another service there"):
        client.status()
    client.close()
    server.stop(None).wait()


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
        "-days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
        "-keyout key.pem -out cert.pem"
    )
    try:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl that can make a certificate")
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def tls_server(kind, pem):
    """Asks for the client's certificate, too."""
    cert, key = pem
    if kind == "grpcs":
        pair = (key.read_bytes(), cert.read_bytes())
        credentials = grpc.ssl_server_credentials([pair], cert.read_bytes(), True)
        with serve_grpc(MODEL, credentials) as port:
            yield f"grpcs://127.0.0.1:{port}"
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        context.load_verify_locations(cert)
        context.verify_mode = ssl.CERT_REQUIRED
        with serve_rest(MODEL, context) as port:
            yield f"https://127.0.0.1:{port}"


@pytest.mark.parametrize("kind", ["grpcs", "https"])
def test_tls(kind, pem):
    with tls_server(kind, pem) as url:
        options = {"ca": pem[0], "certificate": pem, "timeout": 10}
        with RankClient(url, "shop", **options) as client:
            assert client.status() == {1: "AVAILABLE"}
        with pytest.raises(EndpointError, match="cannot be reached"):
            RankClient(url, "shop", timeout=5).status()  # an unknown authority
