import json

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, DataError, StoreError
from keras_sllmr.io.tfrecord import example, write_shards
from keras_sllmr.serving.batch_inference import predict_records
from keras_sllmr.serving.export import load_export


def feature(record, name):
    found = tf.train.Example.FromString(record).features.feature[name]
    kind = found.WhichOneof("kind")
    return list(getattr(found, kind).value) if kind else []


def all_records(folder):
    files = sorted(map(str, folder.glob("*.tfrecord")))
    return [list(tf.data.TFRecordDataset(f).as_numpy_iterator()) for f in files]


@pytest.fixture
def given(exported, items, tmp_path):
    """Two files of examples, an unknown item and an empty history among them."""
    rows = [
        {"item_id": items[n % len(items)], "history": items[: n % 4] or [""]}
        | ({"user_id": f"u{n}"} if n % 2 else {})
        for n in range(7)
    ]
    rows[3]["item_id"] = "nobody's"
    folder = tmp_path / "examples"
    folder.mkdir()
    for part, some in enumerate((rows[:5], rows[5:])):
        write_shards(tmp_path / f"{part}", (example(**row) for row in some))
        (source,) = (tmp_path / f"{part}").iterdir()
        source.rename(folder / f"rows-{part}.tfrecord")
    return folder


@pytest.mark.parametrize("batch", [2, 1024])
def test_scores_of_every_record_in_order(exported, given, tmp_path, batch):
    to = tmp_path / "predictions"
    assert predict_records(exported.path, given, to, batch=batch) == 7
    module = load_export(exported.path)
    serve = module.signatures["serve_examples"]
    asked, found = all_records(given), all_records(to / "records")
    assert [len(part) for part in found] == [5, 2]
    for before, after in zip(asked, found, strict=True):
        expected = serve(examples=tf.constant(before))
        for name in ("score", "logit"):
            values = [feature(record, name)[0] for record in after]
            np.testing.assert_allclose(values, expected[name], rtol=1e-6, atol=1e-6)
        for name in ("user_id", "item_id"):
            assert [feature(r, name) for r in after] == [
                feature(r, name) for r in before
            ]
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["counts"] == {"predictions": 7}
    assert manifest["inputs"] == ["rows-0.tfrecord", "rows-1.tfrecord"]


def test_other_keys_and_older_predictions(exported, given, tmp_path):
    to = tmp_path / "predictions"
    predict_records(exported.path, given, to)
    one = sorted(given.iterdir())[1]
    assert predict_records(exported.path, [one], to, keys=["history"]) == 2
    ((first, _),) = all_records(to / "records")
    assert set(tf.train.Example.FromString(first).features.feature) == {
        "history",
        "score",
        "logit",
    }


def test_damaged_and_foreign_files(exported, given, tmp_path):
    to = tmp_path / "predictions"
    damaged = given / "rows-0.tfrecord"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    with pytest.raises(DataError, match="rows-0.tfrecord must hold whole"):
        predict_records(exported.path, given, to)
    with tf.io.TFRecordWriter(str(damaged)) as writer:
        writer.write(b"no example")
    with pytest.raises(DataError, match="rows-0.tfrecord must hold whole"):
        predict_records(exported.path, given, to)
    assert not to.exists()


def test_wrong_arguments(exported, given, tmp_path):
    to = tmp_path / "predictions"
    with pytest.raises(ConfigError, match="batch"):
        predict_records(exported.path, given, to, batch=0)
    for files in ([], [given / "none.tfrecord"], tmp_path / "none"):
        with pytest.raises(DataError, match="needs TFRecord files"):
            predict_records(exported.path, files, to)
    with pytest.raises(StoreError):
        predict_records(tmp_path, given, to)
    with pytest.raises(StoreError, match="is not replaced"):
        predict_records(exported.path, given, given)
