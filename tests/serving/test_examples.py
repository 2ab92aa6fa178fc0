import numpy as np
import pytest

from keras_sllmr.backbones.features import FeatureSpec
from keras_sllmr.backbones.registry import build_backbone
from keras_sllmr.compat import tf
from keras_sllmr.serving.examples import parse_examples
from keras_sllmr.serving.export import load_export
from keras_sllmr.serving.signatures import RawIdScorer


def example(**features):
    def feature(values):
        values = [values] if isinstance(values, str | float) else values
        if values and isinstance(values[0], float):
            return tf.train.Feature(float_list=tf.train.FloatList(value=values))
        texts = [value.encode() for value in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))

    named = {name: feature(values) for name, values in features.items()}
    return tf.train.Example(
        features=tf.train.Features(feature=named)
    ).SerializeToString()


def test_parse():
    specs = [
        tf.TensorSpec([None], tf.string, name="item_id"),
        tf.TensorSpec([None, None], tf.string, name="history"),
        tf.TensorSpec([None], tf.float32, name="age"),
    ]
    rows = [example(item_id="a", history=["b", "c"], age=3.0), example(history=["d"])]
    found = parse_examples(tf.constant(rows), specs)
    assert found["item_id"].numpy().tolist() == [b"a", b""]
    assert found["history"].numpy().tolist() == [[b"b", b"c"], [b"d", b""]]
    assert found["age"].numpy()[0] == 3
    assert np.isnan(found["age"].numpy()[1])
    none = parse_examples(tf.constant([], tf.string), specs)
    assert none["history"].shape[0] == 0


def test_signatures_equal_serving_default(exported, items):
    model = load_export(exported.path)
    histories = [["a", "é"], ["new"], []]
    rows = [
        example(item_id=item, history=history)
        for item, history in zip(items, histories, strict=False)
    ]
    serialised = tf.constant(rows)
    expected = model.signatures["serving_default"](
        item_id=tf.constant(items[:3]),
        history=tf.constant([["a", "é"], ["new", ""], ["", ""]]),
    )
    found = model.signatures["serve_examples"](examples=serialised)
    for name in ("score", "logit"):
        assert np.array_equal(found[name], expected[name])
    score = expected["score"].numpy()
    classes = model.signatures["classify"](inputs=serialised)
    assert classes["classes"].numpy().tolist() == [[b"0", b"1"]] * 3
    assert classes["scores"].numpy() == pytest.approx(np.stack([1 - score, score], 1))
    regressed = model.signatures["regress"](inputs=serialised)
    assert regressed["outputs"].numpy()[:, 0].tolist() == score.tolist()


def test_what_is_no_example_is_an_error(exported):
    model = load_export(exported.path)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example"):
        model.signatures["serve_examples"](examples=tf.constant(["text"]))


def test_method_names(exported):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    saved.ParseFromString((exported.path / "saved_model.pb").read_bytes())
    (graph,) = saved.meta_graphs
    methods = {n: s.method_name for n, s in graph.signature_def.items()}
    assert methods["classify"] == "tensorflow/serving/classify"
    assert methods["regress"] == "tensorflow/serving/regress"
    predict = {n for n, m in methods.items() if m == "tensorflow/serving/predict"}
    assert predict == {"serving_default", "rank", "serve_examples"}


def test_columns(column_store, tmp_path):
    spec = FeatureSpec.of(column_store, history_length=4)
    backbone = build_backbone("deepfm", spec, embedding_dim=4, dnn_hidden_units=[5])
    module = RawIdScorer(backbone, spec, column_store, tmp_path)
    signatures = module.signatures()
    row = example(item_id="i05", history=["i01"], gender="F", age=30.0, tags=["x", "y"])
    found = signatures["serve_examples"](examples=tf.constant([row]))
    expected = signatures["serving_default"](
        item_id=tf.constant(["i05"]),
        history=tf.constant([["i01"]]),
        gender=tf.constant(["F"]),
        hobbies=tf.zeros([1, 0], tf.string),
        age=tf.constant([30.0]),
        device=tf.constant([""]),
        tags=tf.constant([["x", "y"]]),
        hour=tf.constant([np.nan]),
    )
    assert np.array_equal(found["logit"], expected["logit"])
