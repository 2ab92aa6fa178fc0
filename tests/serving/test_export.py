import gc
import json
from pathlib import Path

import numpy as np
import pytest

from keras_sllmr.compat import tf
from keras_sllmr.errors import ConfigError, StoreError
from keras_sllmr.io.lock import exclusive
from keras_sllmr.serving.export import export_manifest, export_model, load_export
from keras_sllmr.serving.server_config import ServerConfig
from keras_sllmr.store.manifest import verify_files


def score(loaded, items, history):
    found = loaded.signatures["serving_default"](
        item_id=tf.constant(items), history=tf.constant([history] * len(items))
    )
    return found["logit"].numpy()


def test_export_holds_the_weights_of_inference_alone(exported):
    names = [
        name
        for name, _ in tf.train.list_variables(
            str(exported.path / "variables/variables")
        )
    ]
    weights = [name for name in names if name.startswith("_weights")]
    # Every weight of DeepFM is read; one more is the table of attributes.
    assert len(weights) == len(exported.backbone.weights)
    assert set(names) - set(weights) == {
        "_features/_attributes/.ATTRIBUTES/VARIABLE_VALUE",
        "_CHECKPOINTABLE_OBJECT_GRAPH",
    }
    assert (exported.path / "assets" / "item_ids.txt").read_text(
        encoding="utf-8"
    ).split("\n")[:-1] == exported.store.item_ids[1:].tolist()


def test_versions_count_up_and_are_never_overwritten(exported, tmp_path):
    def export(version=None):
        return export_model(
            exported.backbone,
            exported.spec,
            exported.store,
            tmp_path / "models",
            name="m",
            version=version,
        )

    assert exported.path.name == "1"
    first = export(9)
    (first.parent / "notes").mkdir()
    assert [first.name, export().name] == ["9", "10"]
    before = (first / "saved_model.pb").read_bytes()
    with pytest.raises(StoreError, match="9 exists, and an exported version is never"):
        export(9)
    assert (first / "saved_model.pb").read_bytes() == before
    assert export(2).name == "2"
    with exclusive(first.parent), pytest.raises(StoreError, match="Another process"):
        export()
    # No trace of folders that were written beside.
    configs = ["batching.config", "models.config", "monitoring.config"]
    names = sorted(p.name for p in first.parent.iterdir())
    assert names == ["10", "2", "9", *configs, "notes"]


def test_manifest_says_what_was_exported(exported, tmp_path):
    path = export_model(
        exported.backbone,
        exported.spec,
        exported.store,
        tmp_path,
        name="with-notes",
        version=3,
        model={"kind": "model", "fingerprint": "f00"},
        metrics={"auc_full": {"all": 0.8}},
        run={"name": "weekly", "teacher": "minilm"},
        labels=["canary"],
    )
    assert not (path / "manifest.json").exists()
    manifest = json.loads((path / "assets.extra" / "manifest.json").read_text())
    assert manifest == export_manifest(path)
    assert (manifest["name"], manifest["version"]) == ("with-notes", 3)
    assert manifest["parent"] == {"store": exported.store.fingerprint, "model": "f00"}
    assert manifest["model"] == {"kind": "model", "fingerprint": "f00"}
    assert manifest["metrics"] == {"auc_full": {"all": 0.8}}
    assert manifest["run"] == {"name": "weekly", "teacher": "minilm"}
    assert manifest["store"]["fingerprint"] == exported.store.fingerprint
    assert manifest["signatures"]["regress"] == {
        "method": "tensorflow/serving/regress",
        "inputs": {"inputs": "string [None]"},
        "outputs": {"outputs": "float32 [None, 1]"},
    }
    assert ServerConfig(path.parent, name="with-notes").labels == {"canary": 3}
    assert manifest["versions"]["tensorflow"] == tf.__version__
    assert manifest["settings"]["features"] == exported.spec.to_dict()
    warm_up = "assets.extra/tf_serving_warmup_requests"
    assert {"saved_model.pb", warm_up} < set(manifest["files"])
    verify_files(path, manifest)


def test_a_full_disk_leaves_nothing_behind(exported, tmp_path, monkeypatch):
    def save(module, folder, **kwargs):
        Path(folder, "saved_model.pb").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, "no space left")

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(StoreError, match="Could not write .*no space left"):
        export_model(
            exported.backbone, exported.spec, exported.store, tmp_path, name="m"
        )
    assert list((tmp_path / "m").iterdir()) == []


def test_an_export_that_fails_its_check_is_not_put_in_place(exported, tmp_path):
    def verify(beside):
        assert (beside / "assets.extra" / "MODEL_CARD.md").exists()
        raise StoreError("differs")

    with pytest.raises(StoreError, match="differs"):
        export_model(*exported[1:], tmp_path, name="m", verify=verify)
    assert list((tmp_path / "m").iterdir()) == []


def test_a_label_of_another_version_is_not_moved(exported, tmp_path):
    (tmp_path / "m" / "1").mkdir(parents=True)
    config = ServerConfig(tmp_path / "m", name="m")
    config.label(1, ["stable"], move=False)
    config.write()
    with pytest.raises(ConfigError, match="'stable' is that of version 1"):
        export_model(*exported[1:], tmp_path, name="m", labels=["stable"])
    assert not (tmp_path / "m" / "2").exists()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "-x"])
def test_names_are_folder_names(name, exported, tmp_path):
    with pytest.raises(ConfigError, match=r"Received: name="):
        export_model(
            exported.backbone, exported.spec, exported.store, tmp_path, name=name
        )
    assert list(tmp_path.iterdir()) == []


def test_version_0_and_a_model_of_another_shape_are_refused(
    exported, make_digits, tmp_path
):
    with pytest.raises(ConfigError, match="Received: version=0"):
        export_model(
            exported.backbone,
            exported.spec,
            exported.store,
            tmp_path,
            name="m",
            version=0,
        )
    with pytest.raises(ConfigError, match="'history'"):
        export_model(
            make_digits(history=(4,)),
            exported.spec,
            exported.store,
            tmp_path,
            name="m",
        )
    assert list(tmp_path.iterdir()) == []


def test_exports_in_one_process_keep_their_own_vocabularies(
    exported, make_store, make_digits, spec, items, tmp_path
):
    other = make_store([*items[:-1], "new"])
    digits = make_digits(item=())
    first = export_model(digits, spec, exported.store, tmp_path, name="m")
    second = export_model(digits, spec, other, tmp_path, name="m")
    loaded = [load_export(path) for path in (first, second, first)]
    found = [score(model, ["new", items[-1]], ["a"]).tolist() for model in loaded]
    assert found == [[0, 9], [9, 0], [0, 9]]
    del loaded[0]
    gc.collect()
    assert score(loaded[1], ["new", items[-1]], ["a"]).tolist() == [0, 9]


def test_a_session_without_python_objects_runs_it(exported, items):
    """The way TensorFlow Serving loads: graph, init op, feeds and fetches by name."""
    expected = score(load_export(exported.path), items, ["a", "é"])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(exported.path))
        signature = meta.signature_def["serving_default"]
        assert signature.method_name == "tensorflow/serving/predict"
        feeds = {"item_id": items, "history": [["a", "é"]] * len(items)}
        found = session.run(
            signature.outputs["logit"].name,
            {signature.inputs[name].name: value for name, value in feeds.items()},
        )
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_is_no_export_is_named(tmp_path):
    with pytest.raises(StoreError, match="cannot be loaded as an exported version"):
        load_export(tmp_path / "none")
    (tmp_path / "saved_model.pb").write_bytes(b"damaged")
    with pytest.raises(StoreError, match="cannot be loaded as an exported version"):
        load_export(tmp_path)
    with pytest.raises(StoreError, match="it has no manifest.json"):
        export_manifest(tmp_path)


def test_replace_swaps_an_export_and_nothing_else(make_backbone, spec, store, tmp_path):
    backbone = make_backbone(spec)
    options = {"version": 1, "replace": True}
    path = export_model(backbone, spec, store, tmp_path, name="m", **options)
    (path / "left-over").touch()
    again = export_model(backbone, spec, store, tmp_path, name="m", **options)
    assert again == path
    assert not (path / "left-over").exists()
    foreign = tmp_path / "other" / "1"
    foreign.mkdir(parents=True)
    with pytest.raises(StoreError, match="not a"):
        export_model(backbone, spec, store, tmp_path, name="other", **options)
    assert foreign.exists()
