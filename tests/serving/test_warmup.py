from collections import Counter

import numpy as np
import pytest
from tensorflow_serving.apis import prediction_log_pb2

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.compat import tf
from keras_sllmr.serving.export import export_manifest, export_model, load_export
from keras_sllmr.serving.warmup import WARMUP_FILE


def records(path):
    """The logs in an export, read as TensorFlow Serving does: uncompressed."""
    file = str(path / "assets.extra" / WARMUP_FILE)
    dataset = tf.data.TFRecordDataset(file, compression_type="")
    return [prediction_log_pb2.PredictionLog.FromString(r.numpy()) for r in dataset]


def replayed(loaded, log):
    """Signature, rows, and the outputs of a log's request."""
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request
    signature = loaded.signatures[request.model_spec.signature_name]
    if kind == "predict_log":
        inputs = {n: tf.make_ndarray(proto) for n, proto in request.inputs.items()}
    else:
        examples = request.input.example_list.examples
        inputs = {"inputs": [example.SerializeToString() for example in examples]}
    given = {name: tf.constant(x) for name, x in inputs.items()}
    assert set(given) == set(signature.structured_input_signature[1])
    rows = {x.shape[0] for x in given.values()}
    assert len(rows) == 1
    return kind, request.model_spec.signature_name, rows.pop(), signature(**given)


@pytest.fixture(scope="module")
def with_columns(column_store, tmp_path_factory):
    spec = FeatureSpec.of(column_store, history_length=3, user_id=True)
    model = build_backbone("deepfm", spec, embedding_dim=2, dnn_hidden_units=(2,))
    folder = tmp_path_factory.mktemp("models")
    return export_model(
        model, spec, column_store, folder, name="columns", dense_ids=True
    )


@pytest.mark.parametrize("which", ["plain", "columns"])
def test_every_record_is_answered(which, request):
    if which == "plain":
        path = request.getfixturevalue("exported").path
    else:
        path = request.getfixturevalue("with_columns")
    loaded = load_export(path)
    found = [replayed(loaded, log) for log in records(path)]
    # Several sizes of every signature, by the method that the server calls it with.
    counts = Counter((kind, name) for kind, name, _, _ in found)
    kinds = {"classify": "classify_log", "regress": "regress_log"}
    assert counts == {
        (kinds.get(name, "predict_log"), name): 3
        for name in export_manifest(path)["signatures"]
    }
    for _, name, rows, outputs in found:
        for output, value in outputs.items():
            assert value.shape[0] == rows, (name, output)
            if value.dtype == tf.float32:
                assert np.isfinite(value).all(), (name, output)
    sizes = [rows for _, name, rows, _ in found if name == "serving_default"]
    assert sizes == [1, 10, 100]


def test_requests_are_of_real_rows(exported):
    known = set(exported.store.item_ids[1:].tolist())
    for log in records(exported.path):
        if log.predict_log.request.model_spec.signature_name == "serving_default":
            inputs = log.predict_log.request.inputs
            for name in ("item_id", "history"):
                texts = tf.make_ndarray(inputs[name])
                assert {t.decode() for t in texts.flat} - {""} <= known
            # Cut to what the model reads.
            assert tf.make_ndarray(inputs["history"]).shape[1] <= 3
