"""Exports in a C++ process, loaded as TensorFlow Serving loads them."""

import sys
from pathlib import Path

import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.compat import tf
from keras_sllmr.serving.export import export_model

sys.path.insert(0, str(Path(__file__).parent / "cpp"))
import cpp_loader
from cpp_loader import Call, serve

pytestmark = pytest.mark.skipif(bool(cpp_loader.missing()), reason=cpp_loader.missing())

# Each user with the place of an event, whose context it is; 0 is an unknown one. User
# 30 has no row of columns. In the histories and among the candidates 0 is unknown, too.
USERS, EVENTS = [1, 30, 0], [3, 150, 0]
HISTORIES = [[7, 0, 9, 2, 40], [5], []]
CANDIDATES = [[3, 7, 0, 11], [40, 40, 1, 2], [0, 8, 9, 10]]
NAN = float("nan")


@pytest.fixture(scope="module")
def spec(column_store):
    return FeatureSpec.of(column_store, history_length=3, user_id=True)


@pytest.fixture(scope="module")
def backbone(spec):
    """DeepFM of every field, with weights everywhere that give logits of order 1."""
    model = build_backbone("deepfm", spec, embedding_dim=4, dnn_hidden_units=(5,))
    rng = np.random.default_rng(5)
    model.set_weights([0.3 * rng.normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def keras_logits(backbone, spec, column_store):
    """Logits `[3, 4]` of the candidates by the Keras model, from indices."""
    store = column_store
    users, events = np.repeat(USERS, 4), np.repeat(EVENTS, 4)
    items = np.ravel(CANDIDATES)
    known = [[0, 0, 0, *filter(None, history)][-3:] for history in HISTORIES]
    history = np.repeat(known, 4, axis=0)
    attributes = store.attributes.padded(spec.attribute_width)
    rows = {"user": users, "item": items, "context": events}
    features = {
        "user": users,
        "item": items,
        "history": history,
        "item_attributes": attributes[items],
        "history_attributes": attributes[history].reshape(12, -1),
        **{c.name: c.table(store)[rows[c.entity]] for c in spec.columns},
    }
    assert set(backbone.input) == set(features)

    def logits(**changes):
        return backbone(features | changes, training=False).numpy().reshape(3, 4)

    return logits


@pytest.fixture(scope="module")
def expected(keras_logits):
    return keras_logits()


def padded(rows, fill=""):
    width = max(map(len, rows))
    return [[*row, *[fill] * (width - len(row))] for row in rows]


@pytest.fixture(scope="module")
def requests(column_store, spec):
    """A good request by signature."""
    store = column_store
    names = {n: item or "new" for n, item in enumerate(store.item_ids.tolist())}
    histories = [[names[item] for item in history] for history in HISTORIES]
    candidates = [[names[item] for item in row] for row in CANDIDATES]
    cells = {"user_id": [store.user_ids[user] or "nobody" for user in USERS]}
    for column in spec.columns:
        if column.entity != "item":
            # Of the context, table row i + 1 is event i.
            shift = column.entity == "context"
            unknown = {"numeric": NAN, "multi": ["?"], "categorical": "?"}[column.kind]
            cells[column.name] = [
                column.column(store).cell(row - shift) if row else unknown
                for row in (EVENTS if shift else USERS)
            ]
    inputs = {name: tensor(values) for name, values in cells.items()}
    examples = [
        example(
            item_id=[item],
            history=histories[user],
            **{name: as_list(values[user]) for name, values in cells.items()},
        )
        for user in range(3)
        for item in candidates[user]
    ]
    rows = {name: np.repeat(x, 4, axis=0) for name, x in inputs.items()}
    ranked = {"k": np.array([1, 3, 2], np.int32), **inputs}
    dense = {"candidates": CANDIDATES, "history": padded(HISTORIES, 0)}
    return {
        "serving_default": {
            "item_id": tensor([item for row in candidates for item in row]),
            "history": np.repeat(tensor(histories), 4, axis=0),
            **rows,
        },
        "rank": {
            "candidates": tensor(candidates),
            "history": tensor(histories),
            **ranked,
        },
        "rank_dense": {n: np.array(x, np.int32) for n, x in dense.items()} | ranked,
        "serve_examples": {"examples": tensor(examples)},
        "classify": {"inputs": tensor(examples)},
        "regress": {"inputs": tensor(examples)},
    }


def as_list(cell):
    return cell if isinstance(cell, list) else [cell]


def tensor(values):
    """Strings or float32; lists of strings are padded."""
    if isinstance(values[0], float):
        return np.array(values, np.float32)
    return np.array(padded(values) if isinstance(values[0], list) else values, object)


def example(**features):
    def feature(values):
        if values and isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        texts = [value.encode() for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))

    named = {name: feature(values) for name, values in features.items()}
    return tf.train.Example(
        features=tf.train.Features(feature=named)
    ).SerializeToString()


def ints(*shape, value=1):
    return np.full(shape, value, np.int32)


NONSENSE = tensor(["nonsense"])
#: What is wrong: the signature, the changes to a good request (None leaves the input
#: out), and what the error says.
WRONG = {
    "dtype": ("serving_default", {"item_id": ints(12)}, "string"),
    "dtype of a number": ("serving_default", {"age": tensor(["3"] * 12)}, "float"),
    "dtype of k": ("rank", {"k": np.ones(3, np.float32)}, "int32"),
    "missing": ("serving_default", {"history": None}, "missing input history"),
    "no k": ("rank", {"k": None}, "missing input k"),
    "extra": ("serving_default", {"colour": tensor(["red"])}, "no input colour"),
    "unknown signature": ("predict", {}, "no signature predict"),
    "a list too many": ("serving_default", {"item_id": tensor([["a"]] * 12)}, ""),
    "a list too few": ("rank", {"candidates": tensor(["a"] * 3)}, ""),
    "scalar": ("serving_default", {"item_id": np.array("a", object)}, ""),
    "fewer histories": ("serving_default", {"history": tensor([["a"]] * 5)}, ""),
    "fewer users": ("rank", {"user_id": tensor(["u01"] * 2)}, ""),
    "k of 0": ("rank", {"k": ints(3, value=0)}, "at least 1"),
    "index too high": ("rank_dense", {"candidates": ints(3, 4, value=41)}, ""),
    "index too low": ("rank_dense", {"candidates": ints(3, 4, value=-1)}, ""),
    "no example": ("serve_examples", {"examples": NONSENSE}, "example"),
    "no example to classify": ("classify", {"inputs": NONSENSE}, "example"),
    "no example to regress": ("regress", {"inputs": NONSENSE}, "example"),
}


def wrong(name, requests):
    signature, changes, _ = WRONG[name]
    inputs = requests.get(signature, {}) | changes
    return signature, {n: x for n, x in inputs.items() if x is not None}


def odd(requests):
    """(signature, inputs) that have a documented answer, by what is odd."""
    rows, ranked = requests["serving_default"], requests["rank"]
    candidates = ranked["candidates"]
    one = {name: x[:1] for name, x in ranked.items()}
    unknown = np.array([NAN, np.inf, -np.inf] * 4, np.float32)
    return {
        "no rows": ("serving_default", {n: x[:0] for n, x in rows.items()}),
        "no users": ("rank", {n: x[:0] for n, x in ranked.items()}),
        "no candidates": ("rank", ranked | {"candidates": candidates[:, :0]}),
        "no examples": ("classify", {"inputs": NONSENSE[:0]}),
        "many": ("rank", one | {"candidates": np.resize(candidates[0], [1, 100_000])}),
        "NaN": ("serving_default", rows | {"age": unknown, "hour": unknown}),
        "padding": (
            "rank",
            ranked | {"candidates": np.where(candidates == "new", "", candidates)},
        ),
        "empty example": ("serve_examples", {"examples": tensor([b""])}),
    }


@pytest.fixture(scope="module")
def served(backbone, spec, column_store, requests, tmp_path_factory):
    """Answers by signature or by what is wrong or odd, out of one process."""
    folder = tmp_path_factory.mktemp("saved_models")
    path = export_model(
        backbone, spec, column_store, folder, name="cpp", dense_ids=True
    )
    every = {name: (name, inputs) for name, inputs in requests.items()}
    every |= {name: wrong(name, requests) for name in WRONG} | odd(requests)
    found = serve([Call(path, *request) for request in every.values()], repeat=2)
    return found._replace(answers=dict(zip(every, found.answers, strict=True)))


@pytest.fixture(scope="module")
def outputs(served):
    def of(name):
        answer = served.answers[name]
        assert not answer.error
        return answer.outputs

    return of


def close(values):
    return pytest.approx(values, rel=1e-6, abs=1e-6)


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_no_python_is_in_the_process(served):
    names = {Path(path).name for path in served.mapped}
    assert {"libtensorflow_cc.so.2", "libtensorflow_framework.so.2"} <= names
    assert not [name for name in names if "python" in name]


@pytest.mark.parametrize("signature", ["serving_default", "serve_examples"])
def test_rows_equal_keras(signature, served, outputs, expected):
    assert served.answers[signature].method == "tensorflow/serving/predict"
    assert outputs(signature)["logit"] == close(expected.ravel())
    assert outputs(signature)["score"] == close(sigmoid(expected).ravel())


def test_classify_equals_keras(served, outputs, expected):
    assert served.answers["classify"].method == "tensorflow/serving/classify"
    assert outputs("classify")["classes"].tolist() == [[b"0", b"1"]] * 12
    score = sigmoid(expected).ravel()
    assert outputs("classify")["scores"] == close(np.stack([1 - score, score], 1))


def test_regress_equals_keras(served, outputs, expected):
    assert served.answers["regress"].method == "tensorflow/serving/regress"
    assert outputs("regress")["outputs"] == close(sigmoid(expected).reshape(12, 1))


@pytest.mark.parametrize(
    ("name", "top"),
    [("rank", "top_item_id"), ("padding", "top_item_id"), ("rank_dense", "top_item")],
)
def test_ranking_equals_keras(name, top, outputs, requests, expected):
    found = outputs(name)
    candidates = (requests | {n: x for n, (_, x) in odd(requests).items()})[name][
        "candidates"
    ]
    if top == "top_item_id":
        candidates = np.char.encode(candidates.astype(str))
    # An id may be unknown; an index of 0 is padding.
    real = np.full([3, 4], True) if name == "rank" else np.array(CANDIDATES) > 0
    assert found["logit"][real] == close(expected[real])
    assert found["score"] == close(np.where(real, sigmoid(expected), 0))
    least = np.finfo(np.float32).min
    assert (found["logit"][~real] == least).all()
    logits = np.where(real, expected, least)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :3]
    assert (found[top] == np.take_along_axis(candidates, best, 1)).all()
    assert found["top_logit"] == close(np.take_along_axis(logits, best, 1))
    assert found["top_score"] == close(np.take_along_axis(found["score"], best, 1))


@pytest.mark.parametrize("name", WRONG)
def test_bad_requests_get_an_error(name, served):
    found = served.answers[name]
    assert found.error.split(":")[0] in {"INVALID_ARGUMENT", "NOT_FOUND"}, found
    assert WRONG[name][2] in found.error
    assert not found.outputs


def test_nothing_to_score_gives_nothing(outputs):
    shapes = {"logit": (0,), "score": (0,)}
    assert {n: x.shape for n, x in outputs("no rows").items()} == shapes
    assert outputs("no users")["score"].shape == (0, 4)
    assert {x.shape for x in outputs("no candidates").values()} == {(3, 0)}
    assert outputs("no examples")["scores"].shape == (0, 2)


def test_a_hundred_thousand_candidates(outputs, expected):
    found = outputs("many")
    assert found["logit"].shape == (1, 100_000)
    assert np.ptp(found["logit"].reshape(-1, 4), axis=0).max() <= 1e-6
    assert found["logit"][0, :4] == close(expected[0])
    assert found["top_logit"][0, 0] == found["logit"].max()


def test_numbers_that_are_none_count_as_the_mean(outputs, keras_logits):
    means = np.zeros(12, np.float32)
    found = keras_logits(age=means, hour=means)
    assert outputs("NaN")["logit"] == close(found.ravel())


def test_an_empty_example_is_unknown_throughout(outputs, expected):
    assert outputs("empty example")["logit"] == close(expected[2, :1])


def test_every_call_was_timed(served):
    assert (served.answers["rank"].nanoseconds > 0).all()
    assert served.answers["rank"].nanoseconds.shape == (2,)


def test_what_is_no_export_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="Could not find SavedModel"):
        serve([Call(tmp_path, "serving_default", {})])
