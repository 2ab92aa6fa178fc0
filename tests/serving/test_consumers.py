"""Exports behind model servers: a stub always, the real one where there is one.

`TENSORFLOW_MODEL_SERVER` names the real one, or it is on the PATH.
"""

import json
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest

from keras_sllmr.backbones.deepfm import deepfm
from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, EndpointError
from keras_sllmr.io.tfrecord import example
from keras_sllmr.serving.client import RankClient
from keras_sllmr.serving.export import export_model, load_export

sys.path.insert(0, str(Path(__file__).parent / "servers"))
from model_server import NAME, VARIABLE, model_server, serve_for_real
from stub_grpc import serve_grpc
from stub_model import StubModel
from stub_rest import serve_rest
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

NAN = float("nan")
HISTORIES = [["i07", "new", "", "i09", "i02"], [], ["i05"]]
CANDIDATES = [["i03", "new", "i11", "i40"], ["i01"], ["i02", "i02", "i08"]]
USERS = ["u01", "", "nobody"]
COLUMNS: dict[str, list[Any]] = {
    "gender": ["F", "", "new"],
    "hobbies": [["go", "chess"], [], ["new"]],
    "age": [31.5, NAN, 20],
    "device": ["app", "", "web"],
    "tags": [["x", "w"], [], ["y"]],
    "hour": [23, NAN, 0.0],
}
LISTS = ("hobbies", "tags")


class Server(NamedTuple):
    grpc: str
    rest: str


@pytest.fixture(scope="module")
def exported(column_store, tmp_path_factory):
    """DeepFM of every field, with large weights everywhere."""
    spec = FeatureSpec.of(column_store, history_length=3, user_id=True)
    model = deepfm(spec, embedding_dim=4, dnn_hidden_units=(5,))
    rng = np.random.default_rng(5)
    model.set_weights([0.5 * rng.normal(size=w.shape) for w in model.get_weights()])
    folder = tmp_path_factory.mktemp("saved_models")
    return export_model(
        model,
        spec,
        column_store,
        folder,
        name="shop",
        labels=["stable"],
        base_path=str(folder / "shop"),
        dense_ids=True,
    )


@contextmanager
def stub(path, log):
    model = StubModel(path, {"stable": int(path.name)})
    with serve_grpc(model) as grpc_port, serve_rest(model) as rest_port:
        yield grpc_port, rest_port
    model.close()


SERVERS = {"stub": stub}
if model_server():
    SERVERS["real"] = serve_for_real
    SERVERS["batching"] = partial(serve_for_real, batching=True)


@pytest.fixture(scope="module", params=SERVERS)
def server(request, exported, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log"
    with SERVERS[request.param](exported, log) as ports:
        yield Server(f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}")


@pytest.fixture(params=["grpc", "http"])
def url(request, server):
    address = server.grpc if request.param == "grpc" else server.rest
    return f"{request.param}://{address}"


@pytest.fixture
def client(url):
    with RankClient(url, "shop", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def stubs(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield (
            prediction_service_pb2_grpc.PredictionServiceStub(channel),
            model_service_pb2_grpc.ModelServiceStub(channel),
        )


@pytest.fixture(scope="module")
def score(exported):
    """Scores by `serving_default` of the loaded export: one user, his candidates."""
    model = load_export(exported)
    takes = dict(model.signatures["serving_default"].structured_input_signature[1])

    def score(candidates, history=(), user="", columns=None):
        inputs = {}
        given = {"history": list(history), "user_id": user, **(columns or {})}
        for name, spec in takes.items():
            number, many = spec.dtype == tf.float32, spec.shape.rank == 2
            cell = given.get(name, NAN if number else [] if many else "")
            inputs[name] = tf.constant([cell] * len(candidates), spec.dtype)
        inputs["item_id"] = tf.constant(list(candidates), tf.string)
        return model.signatures["serving_default"](**inputs)["score"].numpy().tolist()

    return score


def expected(score, candidates, *args, k=10, **kwargs):
    found = score(candidates, *args, **kwargs)
    order = sorted(range(len(found)), key=lambda place: -found[place])
    return [
        (candidates[place], pytest.approx(found[place], abs=1e-6))
        for place in order[:k]
    ]


def rows(n):
    """`n` rows of all inputs of `serving_default`, one of each user of `CANDIDATES`."""
    width = max(map(len, HISTORIES))
    inputs = {
        "item_id": [row[0] for row in CANDIDATES],
        "history": [row + [""] * (width - len(row)) for row in HISTORIES],
        "user_id": USERS,
        **COLUMNS,
    }
    for name in LISTS:
        inputs[name] = [row + [""] * (2 - len(row)) for row in inputs[name]]
    return {name: values[:n] for name, values in inputs.items()}


def rank_inputs(n=3, k=2):
    inputs = rows(n)
    del inputs["item_id"]
    inputs["candidates"] = [row + [""] * (4 - len(row)) for row in CANDIDATES][:n]
    return inputs | {"k": [k] * n}


def tensors(inputs):
    numbers = {"age": np.float32, "hour": np.float32, "k": np.int32}
    return {
        name: tf.make_tensor_proto(np.array(value, numbers.get(name, object)))
        for name, value in inputs.items()
    }


def predict(stubs, inputs, signature, **spec):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = spec.get("name", "shop")
    request.model_spec.signature_name = signature
    if "version" in spec:
        request.model_spec.version.value = spec["version"]
    if "label" in spec:
        request.model_spec.version_label = spec["label"]
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(value)
    response = stubs[0].Predict(request, timeout=30)
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def post(server, path, body):
    """A request as curl sends it; gives the HTTP status, too."""
    request = urllib.request.Request(
        f"http://{server.rest}/v1/models/{path}", json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def row_scores(score, n=3):
    users = zip(CANDIDATES, HISTORIES, USERS, strict=True)
    return [
        score([row[0]], history, user, {name: COLUMNS[name][at] for name in COLUMNS})[0]
        for at, (row, history, user) in enumerate(users)
    ][:n]


def serialised(n=3):
    """The same rows as tf.Example features, without padding."""
    inputs = rows(n) | {name: COLUMNS[name] for name in LISTS} | {"history": HISTORIES}
    for at in range(n):
        row = {name: values[at] for name, values in inputs.items()}
        row |= {name: float(row[name]) for name in ("age", "hour")}
        # An empty list has no type, and is left out.
        yield {name: value for name, value in row.items() if value != []}


# The client.


def test_client_ranks_a_user(client, score):
    columns = {name: values[0] for name, values in COLUMNS.items()}
    found = client.rank(
        HISTORIES[0], CANDIDATES[0], k=3, user_id="u01", columns=columns
    )
    assert found == expected(score, CANDIDATES[0], HISTORIES[0], "u01", columns, k=3)
    assert len(found) == 3 and isinstance(found[0][1], float)


def test_client_ranks_users_of_one_request(client, score):
    found = client.rank_many(HISTORIES, CANDIDATES, user_ids=USERS, columns=COLUMNS)
    assert found == [
        expected(
            score,
            CANDIDATES[at],
            HISTORIES[at],
            USERS[at],
            {name: values[at] for name, values in COLUMNS.items()},
        )
        for at in range(3)
    ]
    assert [len(row) for row in found] == [4, 1, 3]


def test_client_takes_what_is_missing_as_unknown(client, score):
    assert client.rank([], ["i03", "i04"]) == expected(score, ["i03", "i04"])
    assert client.rank(["i01"], ["i03"], columns={"age": 30, "tags": []}) == expected(
        score, ["i03"], ["i01"], columns={"age": 30.0}
    )


def test_client_with_no_and_many_candidates(client, score):
    assert client.rank(["i01"], []) == client.rank(["i01"], ["", ""]) == []
    assert client.rank_many([], []) == []
    assert client.rank_many([[], ["i01"]], [[], ["i02"]])[0] == []
    many = [f"i{n % 45:02d}" for n in range(100_000)]
    found = client.rank(["i01", "i09"], many, k=3)
    best = expected(score, many[:45], ["i01", "i09"], k=1)[0]
    assert found == [best, best, best]


def test_client_ranks_texts_of_every_kind(client, score):
    texts = ["é", "ì\u2028j", '"h"', "\t", "\x00", "日本", "😀", "i03"]
    found = client.rank(texts, texts)
    assert sorted(item for item, _ in found) == sorted(texts)
    # Whatever is unknown scores the same, and keeps its order.
    assert [item for item, _ in found if item != "i03"] == texts[:-1]


def test_client_ranks_by_the_indices_of_the_store(url, client):
    with RankClient(url, "shop", timeout=30, signature="rank_dense") as dense:
        found = dense.rank([7, 0, 9, 2], [3, 11, 0, 40], user_id="u01")
    by_id = client.rank(["i07", "i09", "i02"], ["i03", "i11", "i40"], user_id="u01")
    assert [(f"i{item:02d}", score) for item, score in found] == by_id


def test_client_with_widths(url, client):
    widths = {"history": 3, "candidates": 6, "tags": 2}
    with RankClient(url, "shop", timeout=30, widths=widths) as wide:
        for history in ["i07", "i01", "i09", "i02"], ["i07"], []:
            assert wide.rank(history, ["i03", "i04"]) == client.rank(
                history, ["i03", "i04"]
            )
        with pytest.raises(ConfigError, match="'candidates' has at most 6 values"):
            wide.rank([], ["i01"] * 7)


@pytest.mark.parametrize(
    "choice", [{"version": 1}, {"label": "stable"}], ids=["version", "label"]
)
def test_client_chooses_a_version(choice, url, client):
    with RankClient(url, "shop", timeout=30, **choice) as chosen:
        assert chosen.rank([], ["i03"]) == client.rank([], ["i03"])


def test_client_shows_status_and_metadata(client):
    assert client.status() == {1: "AVAILABLE"}
    found = client.metadata()
    assert set(found) == {
        "serving_default",
        "rank",
        "rank_dense",
        "serve_examples",
        "classify",
        "regress",
    }
    rank = found["rank"]
    assert rank.method == "tensorflow/serving/predict"
    assert rank.inputs["candidates"] == ("string", (-1, -1))
    assert rank.inputs["k"] == ("int32", (-1,))
    assert rank.inputs["age"] == ("float32", (-1,))
    assert set(rank.inputs) == {"candidates", "history", "k", "user_id", *COLUMNS}
    outputs = {"score", "logit", "top_item_id", "top_score", "top_logit"}
    assert set(rank.outputs) == outputs
    assert found["classify"].method == "tensorflow/serving/classify"
    assert found["regress"].method == "tensorflow/serving/regress"


@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({"model": "other"}, "NOT_FOUND"),
        ({"model": "shop", "version": 7}, "NOT_FOUND"),
        ({"model": "shop", "label": "none"}, "INVALID_ARGUMENT"),
    ],
)
def test_client_is_refused(choice, code, url):
    refused = pytest.raises(EndpointError, match=rf"refused a request \({code}\)")
    with RankClient(url, timeout=30, **choice) as client, refused:
        client.rank([], ["i01"])


def test_client_times_out(url):
    late = pytest.raises(EndpointError, match=r"did not answer within 0\.002 s")
    with RankClient(url, "shop", timeout=0.002) as client, late:
        client.rank([], ["i01"] * 50_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": {"size": 1}}, "`columns` must be among .*age, device"),
        ({"columns": {"k": 1}}, "`columns` must be among"),
        ({"columns": {"gender": 3}}, "'gender' must be str. Received: 3"),
        ({"columns": {"tags": "x"}}, "'tags' must be a list of str. Received: 'x'"),
        ({"columns": {"age": "31"}}, "'age' must be number. Received: '31'"),
        ({"k": 0}, "`k` must be an int of at least 1"),
        ({"user_id": None}, "'user_id' must be str"),
        ({"history": "i01"}, "'history' must be a list of str. Received: 'i01'"),
        ({"candidates": [1, 2]}, "'candidates' must be str. Received: 1"),
        ({"candidates": ["\ud800"]}, "valid Unicode"),
    ],
)
def test_client_says_what_is_wrong(arguments, message, client):
    history, candidates = ["i01"], ["i02"]
    arguments = {"history": history, "candidates": candidates, **arguments}
    with pytest.raises(ConfigError, match=message):
        client.rank(**arguments)


# The gRPC services by tensorflow-serving-api's own stubs.


def test_predict_by_rows(stubs, score):
    found = predict(stubs, tensors(rows(3)), "")
    assert found["score"] == pytest.approx(np.array(row_scores(score)), abs=1e-6)
    assert found["logit"].shape == (3,)


def test_predict_rank(stubs, score):
    found = predict(stubs, tensors(rank_inputs(k=2)), "rank")
    for at in range(3):
        columns = {name: values[at] for name, values in COLUMNS.items()}
        real = len(CANDIDATES[at])
        scores = score(CANDIDATES[at], HISTORIES[at], USERS[at], columns)
        assert found["score"][at, :real] == pytest.approx(np.array(scores), abs=1e-6)
        assert (found["score"][at, real:] == 0).all()
    assert found["top_item_id"].shape == (3, 2)
    assert found["top_item_id"][1].tolist() == [b"i01", b""]


def test_predict_examples(stubs, score):
    records = np.array([example(**row) for row in serialised()], object)
    inputs = {"examples": tf.make_tensor_proto(records)}
    found = predict(stubs, inputs, "serve_examples")
    assert found["score"] == pytest.approx(np.array(row_scores(score)), abs=1e-6)


def examples_of(request, signature, records):
    request.model_spec.name, request.model_spec.signature_name = "shop", signature
    for record in records:
        request.input.example_list.examples.add().ParseFromString(record)
    return request


def test_classify_and_regress(stubs, score):
    records = [example(**row) for row in serialised()]
    request = examples_of(
        classification_pb2.ClassificationRequest(), "classify", records
    )
    rows = stubs[0].Classify(request, timeout=30).result.classifications
    want = pytest.approx(np.array(row_scores(score)), abs=1e-6)
    assert [[c.label for c in row.classes] for row in rows] == [["0", "1"]] * 3
    assert [row.classes[1].score for row in rows] == want
    assert [row.classes[0].score for row in rows] == pytest.approx(
        1 - np.array(row_scores(score)), abs=1e-6
    )
    request = examples_of(regression_pb2.RegressionRequest(), "regress", records)
    values = stubs[0].Regress(request, timeout=30).result.regressions
    assert [value.value for value in values] == want


def test_model_metadata_and_status(stubs):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "shop"
    request.metadata_field.append("signature_def")
    response = stubs[0].GetModelMetadata(request, timeout=30)
    assert response.model_spec.version.value == 1
    found = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(found)
    assert set(found.signature_def["serve_examples"].inputs) == {"examples"}
    status = get_model_status_pb2.GetModelStatusRequest()
    status.model_spec.name = "shop"
    (version,) = stubs[1].GetModelStatus(status, timeout=30).model_version_status
    assert (version.version, version.state) == (1, version.AVAILABLE)


def changed(**changes):
    """Inputs of `rank`, some of them replaced by others or left out."""
    inputs = tensors(rank_inputs()) | {
        name: None if value is None else tf.make_tensor_proto(np.array(value))
        for name, value in changes.items()
    }
    return {name: value for name, value in inputs.items() if value is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": None}, "history"),
        ({"extra": [1]}, "extra"),
        ({"candidates": [[1, 2]] * 3}, "to be string"),
        ({"k": [1.0] * 3}, "to be int32"),
        ({"age": [b"31"] * 3}, "to be float"),
        ({"history": [b"i01"] * 3}, None),
        ({"candidates": [b"i01"] * 3}, None),
        ({"tags": [b"x"] * 3}, None),
        ({"history": [[b"i01"]]}, None),
        ({"user_id": [b"u01"]}, None),
        ({"k": np.int32([0, 1, 1])}, "at least 1"),
    ],
)
def test_bad_requests_of_rank_are_invalid(changes, message, stubs):
    with pytest.raises(grpc.RpcError, match=message) as caught:
        predict(stubs, changed(**changes), "rank")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    # It has not harmed the server.
    assert predict(stubs, changed(), "rank")["score"].shape == (3, 4)


@pytest.mark.parametrize("count", [0, 1, 2, 4])
@pytest.mark.parametrize("name", sorted(rank_inputs()))
def test_numbers_of_rows_must_be_equal(name, count, stubs):
    full = rank_inputs()
    bad = {name: (full[name] * 2)[:count]}
    if not count and name in ("candidates", "history", *LISTS):
        bad[name] = np.empty((0, 2), object)
    with pytest.raises(grpc.RpcError) as caught:
        predict(stubs, tensors(full | bad), "rank")
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("spec", "signature", "code"),
    [
        ({"name": "other"}, "rank", "NOT_FOUND"),
        ({"version": 7}, "rank", "NOT_FOUND"),
        ({"label": "none"}, "rank", "INVALID_ARGUMENT"),
        ({}, "other", "FAILED_PRECONDITION"),
    ],
)
def test_what_is_not_served(spec, signature, code, stubs):
    with pytest.raises(grpc.RpcError) as caught:
        predict(stubs, changed(), signature, **spec)
    assert caught.value.code().name == code


def test_deadline(stubs):
    many = np.full([3, 20_000], "i01", object)
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "shop", "rank"
    for name, value in changed().items():
        request.inputs[name].CopyFrom(value)
    request.inputs["candidates"].CopyFrom(tf.make_tensor_proto(many))
    with pytest.raises(grpc.RpcError) as caught:
        stubs[0].Predict(request, timeout=0.001)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_empty_and_damaged_examples(stubs, score):
    records = np.array([b"", example(item_id="i03")], object)
    inputs = {"examples": tf.make_tensor_proto(records)}
    found = predict(stubs, inputs, "serve_examples")["score"]
    assert found == pytest.approx(np.array(score(["", "i03"])), abs=1e-6)
    for bad in b"no example", example(item_id=3), example(item_id=["i01", "i02"]):
        inputs = {"examples": tf.make_tensor_proto(np.array([bad], object))}
        with pytest.raises(grpc.RpcError) as caught:
            predict(stubs, inputs, "serve_examples")
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    for method, signature in ("Classify", "classify"), ("Regress", "regress"):
        kind = "Classification" if method == "Classify" else "Regression"
        package = {
            "Classification": classification_pb2,
            "Regression": regression_pb2,
        }[kind]
        request = examples_of(getattr(package, f"{kind}Request")(), signature, [])
        with pytest.raises(grpc.RpcError, match="Input is empty"):
            getattr(stubs[0], method)(request, timeout=30)


def test_no_candidates_and_not_finite_numbers(stubs):
    inputs = changed(candidates=np.empty((3, 0), object))
    assert predict(stubs, inputs, "rank")["top_item_id"].shape == (3, 0)
    odd = changed(age=np.float32([NAN, np.inf, -np.inf]))
    unknown = changed(age=np.float32([NAN] * 3))
    found = predict(stubs, odd, "rank")["score"]
    assert np.isfinite(found).all()
    assert (found == predict(stubs, unknown, "rank")["score"]).all()


# REST as curl has it.


def test_rest_by_columns_and_by_rows(server, score):
    want = pytest.approx(row_scores(score), abs=1e-6)
    status, found = post(server, "shop:predict", {"inputs": rows(3)})
    assert (status, found["outputs"]["score"]) == (200, want)
    inputs = rows(3)
    instances = [
        {name: values[at] for name, values in inputs.items()} for at in range(3)
    ]
    status, found = post(server, "shop:predict", {"instances": instances})
    assert (status, [row["score"] for row in found["predictions"]]) == (200, want)


def test_rest_rank_by_rows(server, client):
    inputs = rank_inputs(k=2)
    instances = [
        {name: values[at] for name, values in inputs.items()} for at in range(3)
    ]
    body = {"signature_name": "rank", "instances": instances}
    status, found = post(server, "shop:predict", body)
    best = client.rank_many(HISTORIES, CANDIDATES, 2, user_ids=USERS, columns=COLUMNS)
    assert status == 200
    for row, pairs in zip(found["predictions"], best, strict=True):
        top = list(zip(row["top_item_id"], row["top_score"], strict=True))[: len(pairs)]
        assert top == [(item, pytest.approx(value, abs=1e-6)) for item, value in pairs]


def test_rest_examples(server, score):
    want = pytest.approx(row_scores(score), abs=1e-6)
    examples = [*serialised()]
    examples[1]["history"] = []  # or left out
    body = {"signature_name": "classify", "examples": examples}
    status, found = post(server, "shop:classify", body)
    assert status == 200
    assert [dict(row)["1"] for row in found["results"]] == want
    body["signature_name"] = "regress"
    assert post(server, "shop:regress", body) == (200, {"results": want})


def test_rest_serialised_examples(server, score):
    records = [{"b64": b64encode(example(**row)).decode()} for row in serialised()]
    body = {"signature_name": "serve_examples", "instances": records}
    status, found = post(server, "shop:predict", body)
    assert status == 200
    assert [row["score"] for row in found["predictions"]] == pytest.approx(
        row_scores(score), abs=1e-6
    )


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("other:predict", {"inputs": rows(1)}, 404),
        ("shop/versions/7:predict", {"inputs": rows(1)}, 404),
        ("shop/labels/none:predict", {"inputs": rows(1)}, 400),
        ("shop:predict", {"inputs": rows(1), "signature_name": "other"}, 400),
        ("shop:predict", {"inputs": {"item_id": ["i01"]}}, 400),
        ("shop:predict", {"inputs": rows(1) | {"item_id": [1]}}, 400),
        ("shop:predict", {"inputs": rows(1) | {"age": ["31"]}}, 400),
        ("shop:predict", {"inputs": rows(1) | {"age": [None]}}, 400),
        ("shop:predict", {"inputs": rows(2) | {"history": [["a"], []]}}, 400),
        ("shop:predict", {"inputs": rows(1) | {"history": ["a"]}}, 400),
        ("shop:predict", {"inputs": rows(1) | {"history": []}}, 400),
        ("shop:predict", {"instances": []}, 400),
        ("shop:predict", {"instances": [rows(1)], "inputs": rows(1)}, 400),
        ("shop:predict", {"instances": [{"item_id": "i01"}]}, 400),
        ("shop:predict", {}, 400),
        ("shop:predict", [], 400),
        ("shop:classify", {"signature_name": "classify", "examples": []}, 400),
        ("shop:classify", {"signature_name": "rank", "examples": [{}]}, 400),
        ("shop:regress", {"signature_name": "regress", "examples": [{"age": 31}]}, 400),
        (
            "shop:regress",
            {"signature_name": "regress", "examples": [{"item_id": 3}]},
            400,
        ),
    ],
)
def test_bad_requests_over_rest(path, body, code, server):
    status, found = post(server, path, body)
    assert status == code and found["error"]


@pytest.mark.skipif(
    not model_server(), reason=f"no {NAME}: {VARIABLE} does not name it, nor the PATH"
)
def test_monitoring_of_the_real_server(exported, tmp_path):
    with serve_for_real(exported, tmp_path / "log") as (_, port):
        server = Server("", f"127.0.0.1:{port}")
        assert post(server, "shop:predict", {"inputs": rows(1)})[0] == 200
        url = f"http://{server.rest}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            metrics = answer.read().decode()
    assert ':tensorflow:serving:request_count{model_name="shop",status="OK"}' in metrics
